"""Weighted sums of the updates of several adapters of one backbone.

An adapter of any method is other values in some tensors of the backbone, so adapters of all methods can be blended:
W = W0 + sum of w_i (W_i - W0). Averaging what several trainings found is a model soup (Wortsman et al. 2022). What was
trained on top of another adapter adds to that one: its update is what it makes of the network with that one folded in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adaptsr_cli.adapters.attach import fold
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.stages.common.adapter_file import AdapterSource, put_adapter


@dataclass(frozen=True)
class AdapterBlend:
    """A backbone and the updates of several adapters.

    Attributes:
        before: The backbone's own tensors that any of the adapters changes, fp32 on the CPU, by name.
        updates: What each adapter adds to them, float64; an adapter that leaves one as it is does not name it.
        params_each: Trainable parameters of each adapter.
    """

    backbone: Backbone
    before: Mapping[str, Tensor]
    updates: tuple[Mapping[str, Tensor], ...]
    params_each: tuple[int, ...]

    @property
    def params(self) -> int:
        """Trainable parameters of all adapters."""
        return sum(self.params_each)

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the tensors that any of the adapters changes."""
        return tuple(self.before)

    def put(self, weights: Sequence[float]) -> None:
        """Put W0 + sum of w_i (W_i - W0) into the network, summed in float64 and rounded once.

        Args:
            weights: One for every adapter.
        """
        _put(self.backbone, self.before, self.updates, weights)


def open_blend(backbone: Backbone, adapters: Sequence[AdapterSource]) -> AdapterBlend:
    """Compute what each adapter adds to the network, which stays as it is.

    Args:
        backbone: The network that all of them were made for, on the CPU.
        adapters: At least one; what was trained on top of another one comes after it.

    Raises:
        ArtifactError: Adapters of different backbones, or of another one than this, or one without what it was trained
            on top of.
        UsageError: The same adapter twice.
    """
    require_one_backbone(adapters)
    original = _copy(backbone)
    before: dict[str, Tensor] = {}
    known: dict[str, Mapping[str, Tensor]] = {}
    params: list[int] = []
    for adapter in adapters:
        base = adapter.header.base
        if base is not None and base.sha256 in known:
            _put(backbone, before, (known[base.sha256],), (base.strength,))
        else:
            base = None
        under = _copy(backbone)
        attachment = put_adapter(backbone, adapter.header, adapter.tensors, adapter.path, base=base)
        params.append(attachment.params)
        before |= {name: original[name] for name in attachment.changed}
        fold(attachment)
        state = backbone.model.state_dict()
        known[adapter.sha256] = {name: state[name].double() - under[name].double() for name in attachment.changed}
        with torch.no_grad():
            for name, tensor in before.items():
                state[name].copy_(tensor)
    return AdapterBlend(backbone, before, tuple(known.values()), tuple(params))


def _copy(backbone: Backbone) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}


def _put(
    backbone: Backbone,
    before: Mapping[str, Tensor],
    updates: Sequence[Mapping[str, Tensor]],
    weights: Sequence[float],
) -> None:
    state = backbone.model.state_dict()
    with torch.no_grad():
        for name, tensor in before.items():
            blended = tensor.to(torch.float64, copy=True)
            for weight, update in zip(weights, updates, strict=True):
                if name in update:
                    blended += weight * update[name]
            state[name].copy_(blended)


def require_one_backbone(adapters: Sequence[AdapterSource]) -> None:
    """Refuse adapters that cannot be blended.

    Raises:
        ArtifactError: Two of them were made for different backbones; both are named.
        UsageError: The same adapter twice.
    """
    first = adapters[0]
    known: dict[str, AdapterSource] = {}
    for adapter in adapters:
        ours, theirs = first.header.backbone, adapter.header.backbone
        if (ours.sha256, ours.options) != (theirs.sha256, theirs.options):
            raise ArtifactError(
                f"{adapter.path} was made for {theirs.source} ({theirs.sha256[:8]}), but {first.path} for "
                f"{ours.source} ({ours.sha256[:8]})",
                "blend adapters of one backbone",
            )
        if adapter.sha256 in known:
            raise UsageError(
                f"{adapter.path} is the same adapter as {known[adapter.sha256].path}",
                "name it once, with a larger share in `weights`",
            )
        known[adapter.sha256] = adapter
