"""The mapping of two photographs by robust least squares: eight numbers of the homography and four of each lens.

First to the matched features, then in turn with the measured residual: each window says where in the tele photograph
its middle truly lies and how well it knows that, and all windows together say what homography and what lenses those
are. The windows' own fits hold gain and offset, so this is Gauss-Newton on the pixels with the photometry in the loop
(as in RealSR, Cai et al. 2019), but each window counts as one witness: a near or moving thing is voted down as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.registration.features import Start
from adaptsr_cli.registration.geometry import Mapping, Region, find_region, start_mapping
from adaptsr_cli.registration.planes import Points
from adaptsr_cli.registration.residual import Prepared, Residual, measure_residual

_LENS_PRIOR: Final = np.array([0.03, 0.02, 0.03, 0.03])
"""Spread of k1, k2 and of the centre's place that cameras have, in half diagonals. Two lenses with one centre can take
over each other's distortion nearly without a trace; this keeps what cannot be told apart small."""
_PRIOR_WITNESSES: Final = 50
_STEPS: Final = 12
# Blur of both sides in LR px while the mapping is improved: displacements of about twice that are within reach.
_COARSE_TO_FINE_PX: Final = (3.0, 1.5, 0.8, 0.6)
_MODEL_SIGMA_PX: Final = 0.02
"""What a mapping of this form leaves of a perfect pair of photographs, added to each window's bound."""


def refine_from_features(start: Start, wide_px: tuple[int, int], tele_px: tuple[int, int]) -> Mapping:
    """The mapping that fits the features, distortion included.

    Args:
        start: The features.
        wide_px: (width, height) of the LR side.
        tele_px: (width, height) of the tele side.
    """
    mapping = start_mapping(start.matrix, wide_px, tele_px)
    near = start.agreeing
    for _ in range(3):
        spread = np.full(int(near.sum()), 1.0)
        mapping = fit_mapping(mapping, start.wide[near], start.tele[near], spread, distortion=near.sum() >= 60)
        # Features that the homography alone could not reach may follow the bent mapping.
        miss = _miss_px(mapping, start.wide, start.tele)
        near = miss < max(2.0, 4 * float(np.median(miss[near])))
        if near.sum() < 24:
            break
    return mapping


def refine_on_pixels(prepared: Prepared, mapping: Mapping) -> tuple[Mapping, Residual]:
    """Improves a mapping on the photographs themselves, from coarse to fine, and measures what is left.

    Args:
        prepared: Both photographs.
        mapping: Right within a few LR px.
    """
    for sigma_px in _COARSE_TO_FINE_PX:
        region = find_region(mapping)
        if not _is_large_enough(region):
            break
        residual = measure_residual(prepared, mapping, region, sigma_px=sigma_px, rounds=2)
        mapping = fit_to_residual(mapping, residual)
    region = find_region(mapping)
    return mapping, measure_residual(prepared, mapping, region)


def fit_to_residual(mapping: Mapping, residual: Residual) -> Mapping:
    """The mapping that takes over as much of a measured residual as its form allows."""
    kept = residual.trusted
    if kept.sum() < 12:
        # Too little to fit lenses to; what is known from the features is better.
        return mapping
    points = residual.centres[kept]
    shifts = residual.shifts_px[kept]
    variance = residual.covariances[kept].trace(axis1=-2, axis2=-1) / 2
    spread = np.sqrt(variance + _MODEL_SIGMA_PX**2)
    return fit_mapping(mapping, points, mapping.map_points(points + shifts), spread, distortion=True)


def fit_mapping(mapping: Mapping, points: Points, targets: Points, spread_px: AnyArray, *, distortion: bool) -> Mapping:
    """Levenberg-Marquardt on a robust cost (Cauchy, at a scale taken from the misses themselves).

    Args:
        mapping: Where to begin.
        points: (n, 2) LR px.
        targets: (n, 2) tele px: where they lie.
        spread_px: (n,) standard deviation of each, LR px.
        distortion: Whether the lenses are free; else only the homography.
    """
    free = 16 if distortion else 8
    values = _to_vector(mapping)
    # What is known of lenses counts as much as `_PRIOR_WITNESSES` points: the points are many, but no independent ones.
    share = np.sqrt(max(1.0, len(points) / _PRIOR_WITNESSES))
    prior = np.concatenate([np.full(8, np.inf), _LENS_PRIOR / share, _LENS_PRIOR / share])[:free]
    zoom = mapping.zoom_at(points)
    damping = 1e-3

    def misses(vector: AnyArray) -> AnyArray:
        """(n, 2) in standard deviations."""
        found = _from_vector(vector, mapping).map_points(points)
        scaled: AnyArray = (found - targets) / (zoom * spread_px)[:, None]
        return scaled

    current = misses(values)
    scale = _robust_scale(current)
    for _ in range(_STEPS):
        jacobian = np.empty((current.size, free))
        for k in range(free):
            step = np.zeros_like(values)
            step[k] = 1e-6
            jacobian[:, k] = ((misses(values + step) - misses(values - step)) / 2e-6).ravel()
        scale = min(scale, _robust_scale(current))
        squares = (current**2).sum(axis=1)
        weights = np.repeat(1 / (1 + squares / (2.3 * scale) ** 2), 2)
        normal = jacobian.T @ (weights[:, None] * jacobian) + np.diag(1 / prior**2)
        slope = jacobian.T @ (weights * current.ravel()) + values[:free] / prior**2
        cost = _cost(current, scale, values[:free], prior)
        for _ in range(8):
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), slope)
            trial = values.copy()
            trial[:free] -= step
            moved = misses(trial)
            if _cost(moved, scale, trial[:free], prior) <= cost:
                break
            damping *= 5
        else:
            break
        change = float(np.abs(moved - current).mean())
        values, current, damping = trial, moved, max(damping / 5, 1e-9)
        if change < 1e-4:
            break
    return _from_vector(values, mapping)


def _cost(misses: AnyArray, scale: float, values: AnyArray, prior: AnyArray) -> float:
    bound = (2.3 * scale) ** 2
    return float(0.5 * bound * np.log1p((misses**2).sum(axis=1) / bound).sum() + 0.5 * ((values / prior) ** 2).sum())


def _robust_scale(misses: AnyArray) -> float:
    """Standard deviation of one coordinate, from the median length; at least 1, what the spreads say."""
    return max(1.0, float(np.median(np.hypot(*misses.T))) / 1.177)


def _to_vector(mapping: Mapping) -> AnyArray:
    lenses = [value for lens in (mapping.wide, mapping.tele) for value in (lens.k1, lens.k2, lens.x, lens.y)]
    return np.array([*mapping.homography[:8], *lenses])


def _from_vector(vector: AnyArray, like: Mapping) -> Mapping:
    numbers = [float(value) for value in vector]
    wide, tele = (
        replace(lens, k1=part[0], k2=part[1], x=part[2], y=part[3])
        for lens, part in ((like.wide, numbers[8:12]), (like.tele, numbers[12:16]))
    )
    return replace(like, homography=(*numbers[:8], 1.0), wide=wide, tele=tele)


def _miss_px(mapping: Mapping, points: Points, targets: Points) -> AnyArray:
    """How far each match is off, in LR px."""
    miss: AnyArray = np.hypot(*(mapping.map_points(points) - targets).T) / mapping.zoom_at(points)
    return miss


def _is_large_enough(region: Region) -> bool:
    return region.width >= 64 and region.height >= 64


@dataclass(frozen=True)
class Spread:
    """How large displacements are.

    Attributes:
        median_px: Half of them are smaller.
        p90_px: Nine tenths are smaller.
        count: How many there are.
    """

    median_px: float
    p90_px: float
    count: int


def spread_of(lengths_px: AnyArray) -> Spread:
    """Median and 90th percentile of lengths; zeros where there is none."""
    if len(lengths_px) == 0:
        return Spread(0.0, 0.0, 0)
    median, p90 = np.percentile(lengths_px, [50, 90])
    return Spread(float(median), float(p90), len(lengths_px))
