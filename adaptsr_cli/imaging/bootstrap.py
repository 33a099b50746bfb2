"""What photographs show of a transfer function, as one row of figures, and how far chance moves that row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from adaptsr_cli.imaging import edges, spectra
from adaptsr_cli.imaging.edges import Edges

Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64
Flags = np.ndarray[Any, np.dtype[np.bool_]]

FIGURES: Final = spectra.BANDS + len(edges.FREQUENCIES)
SPECTRUM: Final = slice(0, spectra.BANDS)
EDGES: Final = slice(spectra.BANDS, FIGURES)

_RESAMPLES: Final = 200
# Where the sharpest edges are fewer than this many in most resamples, edges tell nothing.
_MOST_MISSING: Final = 0.1


@dataclass(frozen=True)
class Testimony:
    """What one photograph shows.

    Attributes:
        log_power: (BANDS,) natural logarithm of the power of each band.
        edges: Its straight, strong edges.
    """

    log_power: Floats
    edges: Edges


def hear(brightness: Floats, noise_levels: float) -> Testimony:
    """Both witnesses of one photograph.

    Args:
        brightness: (H, W) in grey levels on the LR grid, at least `spectra.WINDOW_PX` each way.
        noise_levels: Standard deviation of its noise.
    """
    power = spectra.band_power(brightness)
    return Testimony(np.log(power + 1e-6), edges.find_edges(brightness, noise_levels))


def summarise(photographs: Sequence[Testimony]) -> Floats:
    """(FIGURES,) mean log power of each band, then the log response of the sharpest edges; NaN where there are none."""
    found = np.full(FIGURES, np.nan)
    found[SPECTRUM] = np.mean([photo.log_power for photo in photographs], axis=0)
    response = edges.log_response([photo.edges for photo in photographs])
    if response is not None:
        found[EDGES] = response
    return found


@dataclass(frozen=True)
class Scatter:
    """How the summary of a number of photographs varies with which photographs they are.

    Attributes:
        mean: (FIGURES,) of the summaries.
        covariance: (FIGURES, FIGURES).
        has_edges: Whether that many photographs nearly always have edges enough.
    """

    mean: Floats
    covariance: Floats
    has_edges: bool


def resample(photographs: Sequence[Testimony], count: int, rng: np.random.Generator) -> Scatter:
    """The scatter of the summary of `count` photographs drawn from these, with replacement (Efron 1979).

    Drawn from the sharp photographs as the (simulated) camera sees them, not from the camera's own: a bootstrap over
    one or three photographs would promise certainty where there is none.
    """
    rows = np.array(
        [
            summarise([photographs[index] for index in rng.integers(0, len(photographs), count)])
            for _ in range(_RESAMPLES)
        ]
    )
    missing = np.isnan(rows).any(axis=1)
    has_edges = bool(missing.mean() <= _MOST_MISSING)
    covariance = np.zeros((FIGURES, FIGURES))
    mean = np.full(FIGURES, np.nan)
    if has_edges:
        mean, covariance = rows[~missing].mean(axis=0), np.cov(rows[~missing], rowvar=False)
    else:
        mean[SPECTRUM] = rows[:, SPECTRUM].mean(axis=0)
        covariance[SPECTRUM, SPECTRUM] = np.cov(rows[:, SPECTRUM], rowvar=False)
    return Scatter(mean, covariance, has_edges)
