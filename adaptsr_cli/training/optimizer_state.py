"""The state of an optimiser as named tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.artifacts.train_config import OptimizerName
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.training.muon import MOMENTUM
from adaptsr_cli.training.optimizer import JointOptimizer

_MOMENTS: Final[dict[OptimizerName, tuple[str, ...]]] = {
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "muon": (MOMENTUM,),
}


def read_moments(optimizer: JointOptimizer, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """Copies on the CPU of the moments, as ``adam/<index>/<moment>``; Adam's only of what was stepped."""
    tensors: dict[str, Tensor] = {}
    for name, part, index, parameter in _walk(optimizer, parameters):
        moments = part.state.get(parameter, {})
        if name == "muon" and not moments:
            moments = {MOMENTUM: torch.zeros_like(parameter)}  # the same, so that a file with too few is known
        for moment in _MOMENTS[name]:
            if moment in moments:
                # The fused optimiser keeps `step` as a tensor on the device, the other one as a CPU tensor.
                tensors[f"{name}/{index}/{moment}"] = moments[moment].detach().cpu().clone()
    return tensors


def put_moments(
    optimizer: JointOptimizer, parameters: Sequence[nn.Parameter], tensors: Mapping[str, Tensor], place: str
) -> None:
    """Put the moments of `read_moments` back.

    Args:
        optimizer: Of these parameters.
        parameters: In the order of before.
        tensors: What `read_moments` gave.
        place: Where they come from, for messages.

    Raises:
        ArtifactError: A moment is missing, too many, of another shape or not finite.
    """
    damaged = ArtifactError(f"{place}: the optimiser state is damaged", "start again with `force`")
    walk = list(_walk(optimizer, parameters))
    known = {f"{name}/{index}/{moment}" for name, _, index, _ in walk for moment in _MOMENTS[name]}
    if not tensors.keys() <= known:
        raise damaged
    for name, part, index, parameter in walk:
        saved = {moment: tensors.get(f"{name}/{index}/{moment}") for moment in _MOMENTS[name]}
        present = part.state.get(parameter, {})
        if name == "adam" and all(tensor is None for tensor in saved.values()):
            for tensor in present.values():
                tensor.zero_()
            continue
        moments: dict[str, Tensor] = {}
        for moment, tensor in saved.items():
            expected = torch.Size() if moment == "step" else parameter.shape
            if tensor is None or tensor.shape != expected or not bool(tensor.isfinite().all()):
                raise damaged
            # Adam wants `step` on the CPU unless it is fused or capturable.
            on_device = moment != "step" or bool(part.defaults.get("fused"))
            moments[moment] = tensor.to(parameter.device) if on_device else tensor.clone()
        if present:  # in place: a recorded step holds the addresses of these tensors
            for moment, tensor in moments.items():
                present[moment].copy_(tensor)
        else:
            part.state[parameter] = moments


def _walk(
    optimizer: JointOptimizer, parameters: Sequence[nn.Parameter]
) -> Iterator[tuple[OptimizerName, torch.optim.Optimizer, int, nn.Parameter]]:
    """Every parameter with its place, and the part of the optimiser that it belongs to."""
    places = {parameter: index for index, parameter in enumerate(parameters)}
    for name, part in optimizer.parts.items():
        for group in part.param_groups:
            for parameter in group["params"]:
                yield name, part, places[parameter], parameter
