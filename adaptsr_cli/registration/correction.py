"""A smooth local correction of what homography and lenses leave, used only where it is proven on held-out places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.registration.geometry import Region, SmoothField, powers
from adaptsr_cli.registration.residual import Residual

_DEGREES: Final = (2, 3, 4, 5, 6)
_FOLDS: Final = 5
_TILE_CELLS: Final = 6
"""Held out are whole squares of so many cells: windows overlap, so a window's neighbours know its answer."""
_LEAST_GAIN: Final = 0.03
"""Share by which the held-out residual must fall, over the next simpler choice that was taken."""
_WINDOWS_PER_TERM: Final = 8


@dataclass(frozen=True)
class Correction:
    """What was found.

    Attributes:
        field: The correction; None where none helped.
        without_px: Held-out residual without it: the mean of robust lengths, LR px.
        with_px: The same with the best one.
        degree: Of the best one; 0 for none.
    """

    field: SmoothField | None
    without_px: float
    with_px: float
    degree: int


def fit_correction(residual: Residual, region: Region) -> Correction:
    """Fits polynomials of rising degree to the trusted windows and keeps the one that held-out windows prefer.

    Args:
        residual: After homography and lenses.
        region: Over which the polynomial's coordinates run from -1 to 1.
    """
    kept = residual.trusted
    rows, columns = np.nonzero(kept)
    centre = (region.left + (region.width - 1) / 2, region.top + (region.height - 1) / 2)
    radius = max(region.width, region.height) / 2
    points = (residual.centres[kept] - np.array(centre)) / radius
    shifts = residual.shifts_px[kept]
    variance = residual.covariances[kept].trace(axis1=-2, axis2=-1) / 2 + 0.02**2
    tiles = rows // _TILE_CELLS * 1009 + columns // _TILE_CELLS
    names, tile_of = np.unique(tiles, return_inverse=True)
    # Tiles go to the folds by a fixed shuffle: neighbouring tiles then seldom share one.
    folds = np.random.default_rng(0).permutation(len(names)) % _FOLDS
    fold = folds[tile_of]
    bound_px = 3 * max(0.03, float(np.median(np.hypot(*shifts.T)))) if len(shifts) else 0.1
    without = _robust_mean(np.hypot(*shifts.T), bound_px) if len(shifts) else 0.0
    best, best_px = 0, without
    if len(names) >= 2 * _FOLDS:
        for degree in _DEGREES:
            terms = powers(points, degree)
            if len(points) < _WINDOWS_PER_TERM * terms.shape[1]:
                break
            held_out = np.empty_like(shifts)
            for number in range(_FOLDS):
                inside = fold != number
                coefficients = _fit_robustly(terms[inside], shifts[inside], variance[inside])
                held_out[~inside] = shifts[~inside] - terms[~inside] @ coefficients
            px = _robust_mean(np.hypot(*held_out.T), bound_px)
            if px < best_px * (1 - _LEAST_GAIN):
                best, best_px = degree, px
    if best == 0:
        return Correction(None, without, without, 0)
    coefficients = _fit_robustly(powers(points, best), shifts, variance)
    field = SmoothField(best, centre, radius, tuple((float(x), float(y)) for x, y in coefficients))
    return Correction(field, without, best_px, best)


def _robust_mean(lengths_px: AnyArray, bound_px: float) -> float:
    """Mean of the lengths, each counted as `bound_px` at most: near and moving things are not to be bent straight."""
    return float(np.minimum(lengths_px, bound_px).mean())


def _fit_robustly(terms: AnyArray, shifts: AnyArray, variance: AnyArray) -> AnyArray:
    """Least squares with Tukey's weights: (n, t), (n, 2), (n,) -> (t, 2)."""
    weights = 1 / variance
    held = 1e-6 * np.eye(terms.shape[1]) * weights.sum()
    for _ in range(6):
        weighted = terms * weights[:, None]
        coefficients: AnyArray = np.linalg.solve(weighted.T @ terms + held, weighted.T @ shifts)
        left = np.hypot(*(shifts - terms @ coefficients).T) / np.sqrt(variance)
        scale = max(1.0, float(np.median(left)) / 1.177)
        weights = np.clip(1 - (left / (4.7 * scale)) ** 2, 0, None) ** 2 / variance + 1e-9
    return coefficients
