"""Weighted sums of several adapters of one backbone, and the choice of the weights.

An adapter of any method is other values in some tensors of the backbone, so adapters of all methods can be blended:
W = W0 + sum of w_i (W_i - W0). Averaging what several trainings found is a model soup (Wortsman et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from adaptsr_cli.adapters.attach import fold
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.stages.common.adapter_file import AdapterSource, put_adapter

Weights = tuple[float, ...]
Score = Callable[[Weights], float]

MAX_STRENGTH: Final = 1.5
"""The largest strength that `tune_weights` tries."""

_FIRST_STEP, _LAST_STEP = 0.25, 0.03125


@dataclass(frozen=True)
class AdapterBlend:
    """A backbone and what each of several adapters makes of its tensors.

    Attributes:
        before: The backbone's own tensors that any of the adapters changes, fp32 on the CPU, by name.
        after: The same as each adapter makes them; an adapter that leaves one as it is does not name it.
        params: Trainable parameters of all adapters.
    """

    backbone: Backbone
    before: Mapping[str, Tensor]
    after: tuple[Mapping[str, Tensor], ...]
    params: int

    @property
    def changed(self) -> tuple[str, ...]:
        """Names of the tensors that any of the adapters changes."""
        return tuple(self.before)

    def put(self, weights: Sequence[float]) -> None:
        """Put W0 + sum of w_i (W_i - W0) into the network, summed in float64 and rounded once.

        Args:
            weights: One for every adapter.
        """
        state = self.backbone.model.state_dict()
        with torch.no_grad():
            for name, tensor in self.before.items():
                frozen = tensor.double()
                blended = frozen.clone()
                for weight, adapted in zip(weights, self.after, strict=True):
                    if name in adapted:
                        blended += weight * (adapted[name].double() - frozen)
                state[name].copy_(blended)


def open_blend(backbone: Backbone, adapters: Sequence[AdapterSource]) -> AdapterBlend:
    """Compute what each adapter makes of the network, which stays as it is.

    Args:
        backbone: The network that all of them were made for, on the CPU.
        adapters: At least one.

    Raises:
        ArtifactError: Adapters of different backbones, or of another one than this.
        UsageError: The same adapter twice.
    """
    require_one_backbone(adapters)
    original = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    before: dict[str, Tensor] = {}
    after, params = [], 0
    for adapter in adapters:
        attachment = put_adapter(backbone, adapter.header, adapter.tensors, adapter.path)
        params += attachment.params
        fold(attachment)
        state = backbone.model.state_dict()
        after.append({name: state[name].clone() for name in attachment.changed})
        with torch.no_grad():
            for name in attachment.changed:
                before[name] = original[name]
                state[name].copy_(original[name])
    return AdapterBlend(backbone, before, tuple(after), params)


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


@dataclass(frozen=True)
class Tuned:
    """The best blend that was found.

    Attributes:
        weights: One for every adapter, before the strength.
        strength: What all weights are multiplied with.
        score: Of this blend.
        plain: Score of the plain blend: the average at strength 1.
        alone: Scores of the adapters one by one; of a single adapter `plain`.
        tried: Number of blends that were scored.
    """

    weights: Weights
    strength: float
    score: float
    plain: float
    alone: tuple[float, ...]
    tried: int


def tune_weights(count: int, score: Score) -> Tuned:
    """Choose weights and strength by a score, deterministically; never worse than the average by that score.

    The greedy soup of Wortsman et al. 2022: adapters in the order of their own scores, each joins the average if that
    scores no worse with it. The better of this and the average of all is then tried in strengths from 0 to 1.5, in
    steps that are halved from 1/4 to 1/32 around the best.

    Args:
        count: How many adapters there are.
        score: Of a blend with these weights, strength included; larger is better. Asked once for each blend.
    """
    known: dict[Weights, float] = {}

    def ask(weights: Weights, strength: float = 1.0) -> float:
        effective = tuple(strength * weight for weight in weights)
        if effective not in known:
            known[effective] = score(effective)
        return known[effective]

    best = _average(range(count), count)
    plain = ask(best)
    alone = tuple(ask(_average([number], count)) for number in range(count))
    members: list[int] = []
    # sorted() is stable: of equals the one named first.
    for number in sorted(range(count), key=lambda number: -alone[number]):
        larger = [*members, number]
        if not members or ask(_average(larger, count)) >= ask(_average(members, count)):
            members = larger
    if ask(_average(members, count)) > plain:
        best = _average(members, count)
    strength = _best_strength(lambda strength: ask(best, strength))
    return Tuned(best, strength, ask(best, strength), plain, alone, len(known))


def _average(members: Sequence[int], count: int) -> Weights:
    return tuple(1 / len(members) if number in members else 0.0 for number in range(count))


def _best_strength(ask: Callable[[float], float]) -> float:
    """The best of a grid, which is made finer around it; 1 unless another one is better."""
    best, step = 1.0, _FIRST_STEP
    candidates = [place * step for place in range(round(MAX_STRENGTH / step) + 1)]
    while True:
        for strength in candidates:
            if ask(strength) > ask(best):
                best = strength
        step /= 2
        if step < _LAST_STEP:
            return best
        candidates = [strength for strength in (best - step, best + step) if 0 <= strength <= MAX_STRENGTH]
