"""The choice of the weights of a blend by a score: the greedy soup, and its strength."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

Weights = tuple[float, ...]
Score = Callable[[Weights], float]

MAX_STRENGTH: Final = 1.5
"""The largest strength that `tune_weights` tries."""

_FIRST_STEP, _LAST_STEP = 0.25, 0.03125


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
