"""The state of an Adam optimiser as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.errors import ArtifactError

_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")


def read_moments(optimizer: torch.optim.Adam, parameters: Sequence[nn.Parameter]) -> dict[str, Tensor]:
    """Copies on the CPU of the moments of all parameters that were stepped, as ``<index>/<moment>``."""
    tensors: dict[str, Tensor] = {}
    for index, parameter in enumerate(parameters):
        moments = optimizer.state.get(parameter, {})
        for moment in _MOMENTS:
            if moment in moments:
                # The fused optimiser keeps `step` as a tensor on the device, the other one as a CPU tensor.
                tensors[f"{index}/{moment}"] = moments[moment].detach().cpu().clone()
    return tensors


def put_moments(
    optimizer: torch.optim.Adam, parameters: Sequence[nn.Parameter], tensors: Mapping[str, Tensor], place: str
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
    known = {f"{index}/{moment}" for index in range(len(parameters)) for moment in _MOMENTS}
    if not tensors.keys() <= known:
        raise damaged
    for index, parameter in enumerate(parameters):
        saved = {moment: tensors.get(f"{index}/{moment}") for moment in _MOMENTS}
        present = optimizer.state.get(parameter, {})
        if all(tensor is None for tensor in saved.values()):
            for tensor in present.values():
                tensor.zero_()
            continue
        moments: dict[str, Tensor] = {}
        for moment, tensor in saved.items():
            expected = torch.Size() if moment == "step" else parameter.shape
            if tensor is None or tensor.shape != expected or not bool(tensor.isfinite().all()):
                raise damaged
            # Adam wants `step` on the CPU unless it is fused or capturable.
            on_device = moment != "step" or bool(optimizer.defaults.get("fused"))
            moments[moment] = tensor.to(parameter.device) if on_device else tensor.clone()
        if present:  # in place: a recorded step holds the addresses of these tensors
            for moment, tensor in moments.items():
                present[moment].copy_(tensor)
        else:
            optimizer.state[parameter] = moments
