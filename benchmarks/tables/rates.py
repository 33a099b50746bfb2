"""The search of a learning rate that each method of a comparison gets for itself, on pairs that are never scored on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

ALIKE_DB: Final = 0.01


def climb(start: float, score: Callable[[float], float], collapsed_db: float = -math.inf) -> float:
    """Climb from the start to the rate, of factors of 2, whose neighbours score below it; then `choose`.

    Args:
        start: Rate to begin with.
        score: PSNR or gain at a rate, in dB; asked once a rate.
        collapsed_db: A network below has collapsed. Among such rates the score is chance, so the climb begins at the
            first lower rate at which it does not.
    """
    scores: dict[float, float] = {}

    def at(step: int) -> float:
        rate = start * 2.0**step
        if rate not in scores:
            scores[rate] = score(rate)
        return scores[rate]

    step = 0
    while at(step) < collapsed_db:
        step -= 1
    while better := [near for near in (step - 1, step + 1) if at(near) > at(step)]:
        step = max(better, key=at)
    return choose(scores)


def choose(scores: Mapping[float, float]) -> float:
    """The lowest rate that scores like the best: near the largest rate that works some seeds fail."""
    return min(rate for rate, score in scores.items() if score > max(scores.values()) - ALIKE_DB)
