"""Series for plotting from the training log. NumPy only, no drawing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from adaptsr_cli.artifacts.log import LogRow


def series_of(log: Sequence[LogRow], value: Callable[[LogRow], float | None]) -> tuple[list[int], list[float]]:
    """Iterations and values of the rows that have one, in order; a repeated iteration counts as last written."""
    points = {row.iteration: found for row in log if (found := value(row)) is not None}
    return sorted(points), [points[iteration] for iteration in sorted(points)]


def smooth(values: Sequence[float]) -> NDArray[np.float64]:
    """Centred moving average over a twentieth of the run, at least three values.

    Windows are cut at the ends, so nothing is made up there.
    """
    half = max(1, len(values) // 40)
    total = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first, stop = np.maximum(place - half, 0), np.minimum(place + half + 1, len(values))
    smoothed: NDArray[np.float64] = (total[stop] - total[first]) / (stop - first)
    return smoothed
