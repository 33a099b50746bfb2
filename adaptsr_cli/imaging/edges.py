"""The second witness of a camera's transfer function: the profiles of its sharpest edges.

The derivative across a straight step edge is the camera's line-spread function, and its Fourier transform is the
transfer function along that direction, overshoot included (ISO 12233). Most edges of a scene are softer than the lens,
so only the sharpest of each photograph are asked, and those of two sets of photographs are compared with one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import ndimage

Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64
Indices = np.ndarray[Any, np.dtype[np.int64]]

FREQUENCIES: Final[Floats] = np.array([0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40])
"""Where the function is read off, in cycles per LR pixel."""

_REACH_PX: Final = 6.0
_STEP_PX: Final = 0.25
_ALONG_PX: Final = (-1.0, 0.0, 1.0)
# Of the pixels, the crests that are looked at: a share, so that a large picture is no more choosy than a small one.
_CANDIDATES: Final = 1 / 48
_GRADIENT_PX: Final = 1.0
# One line through the neighbourhood, no corner and no texture: of the structure tensor, (l1 - l2) / (l1 + l2).
_STRAIGHT: Final = 0.9
_TENSOR_PX: Final = 2.0
# The plateaus are read between these distances from the edge, beyond the overshoot's peak.
_PLATEAU_PX: Final = (3.0, 6.0)
_LEAST_CONTRAST: Final = 20.0
_ABOVE_NOISE: Final = 6.0
LEAST_EDGES: Final = 12
SHARPEST_SHARE: Final = 0.5
"""Of the edges found, which are some per cent of the pixels already; the very sharpest are thin lines, not edges."""
_SMALLEST_GAIN: Final = 0.02


@dataclass(frozen=True)
class Edges:
    """The straight, strong edges of one photograph.

    Attributes:
        slopes: (N,) float64, the steepest slope of each over its contrast, per LR pixel.
        responses: (N, F) float64, the modulus of the Fourier transform of each line-spread function at `FREQUENCIES`.
    """

    slopes: Floats
    responses: Floats


def find_edges(brightness: Floats, noise_levels: float) -> Edges:
    """Measure the straight, strong edges of a photograph, among the two per cent of its pixels of strongest gradient.

    Args:
        brightness: (H, W) in grey levels.
        noise_levels: Standard deviation of its noise; edges have to rise well above it.
    """
    places = _straight_edges(brightness, noise_levels)
    if places is None:
        return Edges(np.zeros(0), np.zeros((0, len(FREQUENCIES))))
    spread = _line_spread(_profiles(brightness, *places), max(_LEAST_CONTRAST, _ABOVE_NOISE * noise_levels))
    distance = (np.arange(spread.shape[1]) - (spread.shape[1] - 1) / 2) * _STEP_PX
    wave = np.exp(-2j * np.pi * FREQUENCIES[:, None] * distance[None])  # (F, T)
    windowed = spread * np.cos(np.pi * distance / (2 * _REACH_PX)) ** 2
    total = np.maximum(windowed.sum(axis=1, keepdims=True), 1e-6)
    return Edges(spread.max(axis=1, initial=0) / _STEP_PX, np.abs(windowed @ wave.T) / total)


def log_response(photographs: Sequence[Edges]) -> Floats | None:
    """The transfer function that the sharpest edges of some photographs together show.

    Args:
        photographs: Their edges; all are put into one pool.

    Returns:
        (F,) its natural logarithm at `FREQUENCIES`; None where there are fewer than `LEAST_EDGES` edges.
    """
    slopes = np.concatenate([edges.slopes for edges in photographs])
    if len(slopes) < LEAST_EDGES:
        return None
    responses = np.concatenate([edges.responses for edges in photographs])
    count = max(LEAST_EDGES // 2, round(SHARPEST_SHARE * len(slopes)))
    sharpest = np.argpartition(-slopes, count - 1)[:count]
    log_gain: Floats = np.log(np.maximum(np.median(responses[sharpest], axis=0), _SMALLEST_GAIN))
    return log_gain


def _straight_edges(brightness: Floats, noise_levels: float) -> tuple[Floats, Floats, Floats, Floats] | None:
    """Places (y, x) and unit normals (ny, nx) of crests of the gradient that lie on straight edges."""
    picture = brightness.astype(np.float32)
    gy = ndimage.gaussian_filter(picture, _GRADIENT_PX, order=(1, 0), mode="nearest")
    gx = ndimage.gaussian_filter(picture, _GRADIENT_PX, order=(0, 1), mode="nearest")
    yy, xx, xy = (ndimage.gaussian_filter(product, _TENSOR_PX) for product in (gy * gy, gx * gx, gy * gx))
    straightness = np.hypot(xx - yy, 2 * xy) / np.maximum(xx + yy, 1e-6)
    strength = np.hypot(gy, gx)
    horizontal = np.abs(gx) >= np.abs(gy)
    beside_x = np.maximum(np.roll(strength, 1, 1), np.roll(strength, -1, 1))
    beside_y = np.maximum(np.roll(strength, 1, 0), np.roll(strength, -1, 0))
    crest = strength >= np.where(horizontal, beside_x, beside_y)
    # The gradient of white noise after a Gaussian of this width.
    floor = max(2.0, 4 * noise_levels / (np.sqrt(8 * np.pi) * _GRADIENT_PX**2))
    usable = crest & (straightness > _STRAIGHT) & (strength > floor)
    margin = int(_REACH_PX) + 2
    inside = np.zeros_like(usable)
    inside[margin:-margin, margin:-margin] = True
    y, x = np.nonzero(usable & inside)
    if len(y) < LEAST_EDGES // 2:
        return None
    strongest = np.argsort(-strength[y, x], kind="stable")[: max(LEAST_EDGES, round(_CANDIDATES * strength.size))]
    y, x = y[strongest], x[strongest]
    size = strength[y, x]
    return y.astype(np.float64), x.astype(np.float64), gy[y, x] / size, gx[y, x] / size


def _profiles(brightness: Floats, y: Floats, x: Floats, ny: Floats, nx: Floats) -> Floats:
    """(N, T) grey levels across each edge, rising, averaged over a short way along it."""
    distance = np.arange(-_REACH_PX, _REACH_PX + _STEP_PX / 2, _STEP_PX)
    total = np.zeros((len(y), len(distance)))
    coefficients = ndimage.spline_filter(brightness.astype(np.float64), order=3, mode="nearest")
    for along in _ALONG_PX:
        rows = y[:, None] + ny[:, None] * distance + along * nx[:, None]
        columns = x[:, None] + nx[:, None] * distance - along * ny[:, None]
        total += ndimage.map_coordinates(coefficients, (rows, columns), order=3, mode="nearest", prefilter=False)
    return total / len(_ALONG_PX)


def _line_spread(profiles: Floats, least_contrast: float) -> Floats:
    """(M, T - 1) derivatives of the profiles that have two level plateaus, each of sum one."""
    distance = np.arange(profiles.shape[1]) * _STEP_PX - _REACH_PX
    below = profiles[:, (distance >= -_PLATEAU_PX[1]) & (distance <= -_PLATEAU_PX[0])]
    above = profiles[:, (distance >= _PLATEAU_PX[0]) & (distance <= _PLATEAU_PX[1])]
    contrast = above.mean(axis=1) - below.mean(axis=1)
    # Plateaus that wave as much as the step rises are texture or a second edge nearby.
    uneven = np.maximum(below.std(axis=1), above.std(axis=1))
    kept = (contrast > least_contrast) & (uneven < 0.15 * contrast)
    spread: Floats = np.diff(profiles[kept], axis=1) / contrast[kept, None]
    return spread
