"""Draws of a few parameters as likely as they are, by importance sampling that improves its own proposal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Floats = np.ndarray[Any, np.dtype[Any]]  # float64

LogDensity = Callable[[Floats], Floats]
"""(N, D) parameters to (N,) logarithms of the density but for a constant; -inf where a parameter is out of range."""

_PER_ROUND: Final = 3000
_ROUNDS: Final = 5
# Of Student's t: its tails are heavier than those of what it proposes for, so no weight grows without bound.
_DEGREES: Final = 5.0
_WIDER: Final = 1.3
_KEPT: Final = 500


@dataclass(frozen=True)
class Sample:
    """Draws from a posterior.

    Attributes:
        draws: (N, D), each as likely.
        best: (D,) the likeliest of all that were tried.
        best_log_density: Its density.
        effective: How many independent draws the last round was worth.
    """

    draws: Floats
    best: Floats
    best_log_density: float
    effective: float


def sample(log_density: LogDensity, first: Floats, rng: np.random.Generator) -> Sample:
    """Population Monte Carlo (Cappe et al. 2004): each round's weighted draws shape the next round's proposal.

    Args:
        log_density: Of the posterior.
        first: (N, D) draws of the prior, the first round's; they must reach whatever the posterior may hold.
        rng: Decides the draws.
    """
    density = log_density(first)
    # The first round is drawn from the prior, and the density has the prior in it: tempered, so that one draw that
    # happens to fit does not take all the weight.
    draws, weight = first, _normalised(density / 4)
    best, best_density = _best(first, density, None)
    effective = 0.0
    for _ in range(_ROUNDS):
        centre = weight @ draws
        spread = (draws - centre).T @ ((draws - centre) * weight[:, None])
        spread = spread * _WIDER**2 + np.diag(1e-8 + 1e-4 * first.var(axis=0))
        root = np.linalg.cholesky(spread)
        normal = rng.standard_normal((_PER_ROUND, first.shape[1]))
        scale = np.sqrt(_DEGREES / rng.chisquare(_DEGREES, _PER_ROUND))
        draws = centre + (normal * scale[:, None]) @ root.T
        distance = np.square(normal * scale[:, None]).sum(axis=1)
        proposal = -0.5 * (_DEGREES + first.shape[1]) * np.log1p(distance / _DEGREES)
        density = log_density(draws)
        weight = _normalised(density - proposal)
        best, best_density = _best(draws, density, (best, best_density))
        effective = float(1 / np.square(weight).sum())
    # Systematic resampling: the least noise that equal weights can have.
    places = (np.arange(_KEPT) + rng.random()) / _KEPT
    chosen = np.minimum(np.searchsorted(np.cumsum(weight), places), len(draws) - 1)
    return Sample(draws[rng.permutation(chosen)], best, best_density, effective)


def _normalised(log_weight: Floats) -> Floats:
    weight: Floats = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    return weight


def _best(draws: Floats, density: Floats, before: tuple[Floats, float] | None) -> tuple[Floats, float]:
    index = int(density.argmax())
    if before is not None and before[1] >= density[index]:
        return before
    return draws[index], float(density[index])
