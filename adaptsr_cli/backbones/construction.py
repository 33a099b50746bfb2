"""Construction of a network from its tensors, with arguments that are mended or chosen.

Spandrel's loaders deduce the arguments, call the constructor and fill the network, all in one function. Here that
function runs as a copy of its own in which the network's class is a stand-in that settles the arguments first; nothing
of spandrel is changed.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from adaptsr_cli.backbones.architectures import Architecture, ImageModelDescriptor
from adaptsr_cli.backbones.hyperparameters import Value, settle

_SCALES = frozenset({"scale", "upscale", "up_scale", "upscale_factor", "upscaling_factor"})


@dataclass
class Blueprint:
    """What a network was built with, as far as its construction came.

    Attributes:
        arguments: Of the constructor.
        deduced: What spandrel made of the tensors.
        model: The network; None where the arguments could not be told.
    """

    arguments: dict[str, Any] = field(default_factory=dict)
    deduced: dict[str, Any] = field(default_factory=dict)
    model: nn.Module | None = None


def build_network(
    architecture: Architecture[nn.Module],
    state: Mapping[str, Tensor],
    choices: Mapping[str, Value],
    blueprint: Blueprint,
) -> ImageModelDescriptor[nn.Module]:
    """Build and fill a network.

    Args:
        architecture: What the tensors are of.
        state: The tensors; not changed.
        choices: Arguments of the constructor that the user knows better.
        blueprint: Filled with what was built, also where an error is raised afterwards.

    Raises:
        UsageError: A choice that the network does not have.
        Exception: Whatever spandrel raises where names or shapes do not fit.
    """
    load: Any = type(architecture).load
    arch_id = str(architecture.id)

    def stand_in(kind: type[nn.Module]) -> Callable[..., nn.Module]:
        def make(**deduced: Any) -> nn.Module:
            complete = _defaults(kind) | deduced
            blueprint.deduced = complete
            blueprint.arguments = settle(arch_id, state, complete, choices)
            changed = {name: value for name, value in blueprint.arguments.items() if complete[name] is not value}
            blueprint.model = kind(**{**deduced, **changed})
            return blueprint.model

        return make

    names = {
        name: stand_in(value)
        for name, value in load.__globals__.items()
        if name in load.__code__.co_names and isinstance(value, type) and issubclass(value, nn.Module)
    }
    own_load = FunctionType(
        load.__code__, {**load.__globals__, **names}, load.__name__, load.__defaults__, load.__closure__
    )
    # Networks draw initial weights as they are built, from the global generator.
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="torch.meshgrid")  # spandrel's code, nothing a user can do
        # A copy: some architectures rename or drop entries of what they are given.
        descriptor: ImageModelDescriptor[nn.Module] = own_load(architecture, dict(state))
    for name in _SCALES & set(choices):
        descriptor.scale = round(descriptor.scale * blueprint.arguments[name] / blueprint.deduced[name])
    return descriptor


def _defaults(kind: type[nn.Module]) -> dict[str, Any]:
    """Arguments that a constructor has besides those that are given, such as a scale of attention."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if parameter.default is not inspect.Parameter.empty and not callable(parameter.default)
    }
