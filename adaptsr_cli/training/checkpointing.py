"""Activation checkpointing: less memory for more time, on devices with little memory.

Of every repeated block only the input is kept; what the backward pass needs is computed again when it gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from adaptsr_cli.backbones.fast.deferral import deferral_as_now
from adaptsr_cli.backbones.fast.forwards import forwards_replaced


@dataclass(frozen=True)
class _Again:
    """A forward pass that is run twice: once without a graph, once more in the backward pass."""

    forward: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.forward(*arguments)
        # Nothing here is random: dropout is off while adapters train.
        again = deferral_as_now()
        return checkpoint(
            self.forward,
            *arguments,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=lambda: (nullcontext(), again),
        )


@contextmanager
def blocks_checkpointed(model: nn.Module, blocks: Iterable[str]) -> Iterator[None]:
    """Within this block the named sub-modules keep their input only.

    Args:
        model: The network.
        blocks: Names of its repeated blocks, as sites have them; an empty name is no block.
    """
    modules = [model.get_submodule(name) for name in dict.fromkeys(blocks) if name]
    with forwards_replaced([(module, _Again(module.forward)) for module in modules]):
        yield
