"""How far two registered photographs are still apart, place by place, and how well that is known.

The tele photograph is looked up at the LR pixels by the mapping found so far. On windows of 2 x 2 cells what is left is
found by linear least squares (Lucas and Kanade 1981), iterated with the picture looked up anew at the displaced places:

    LR = gain * T + offset + blur * laplace(T) + dx * T_x + dy * T_y + noise.

Gain and offset are in the loop, for two lenses differ in both. So is a small difference in blur, which is what the
Laplacian stands for: two lenses differ in that too, and in a window whose edges are not in balance it would otherwise
be taken for a displacement.

How far a displacement can be trusted is known from three things that must agree: the Cramer-Rao bound, the variance of
what is left over times the inverse of the gradients' matrix; the displacements of the two diagonal halves of a window,
each found by itself, whose spread also calibrates the bound of the photograph (noise of cameras is not white, so the
bound alone is too small); and that the model explains what is seen in the window at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray, Float32Array
from adaptsr_cli.registration.geometry import Mapping, Region, look_up
from adaptsr_cli.registration.opencv import blur, dilate, enlarge_linearly, sample
from adaptsr_cli.registration.planes import CELL_PX, Mask, Points, sum_cells, sum_windows

BLACK_LEVEL: Final = 3.0
WHITE_LEVEL: Final = 251.0
PREFILTER_PX: Final = 0.5
"""Blur of the tele photograph in LR px before it is looked up at LR's pixels: what is finer would alias there."""
_UNKNOWNS: Final = 5  # gain, blur, dx, dy and offset, in this order
_ROUNDS: Final = 3
_LARGEST_STEP_PX: Final = 1.0
# Displacements are held to 0 with this spread, so that a window without texture says 0 and not anything.
_PRIOR_PX: Final = 1.0
_MOST_SIGMA_PX: Final = 0.12
_HALVES_SIGMAS: Final = 3.5
_LEAST_VALID: Final = 0.7
_NOISE_FLOOR: Final = 0.3  # grey levels: rounding to 8 bits on either side


@dataclass(frozen=True)
class Residual:
    """What is left between LR and the looked-up tele photograph, on windows of 2 x 2 cells at every cell.

    Attributes:
        region: Where the cells lie; cell (0, 0) is at its upper left.
        centres: (r, c, 2) LR px: the windows' middles.
        shifts_px: (r, c, 2): LR shows at p what the mapping gives at p + shift.
        covariances: (r, c, 2, 2) px^2, calibrated by the halves.
        trusted: (r, c): precise enough to say anything, and agreeing with itself.
        torn: (r, c): precise, but its halves contradict each other: several motions in one window.
        correlation: (r + 1, c + 1) on cells: share of what is seen that both sides have in common, in [0, 1].
        textured: (r + 1, c + 1): cells with enough to compare.
        blur: (r, c): the factor of the Laplacian, px^2; above 0 the LR side is the softer one, at LR's grid.
        seen: (r + 1, c + 1): share of pixels that the tele photograph shows.
        valid: (r + 1, c + 1): share of pixels that both sides show unclipped.
        clipped: (r + 1, c + 1): share of pixels that are clipped on one side at least.
        means: (r + 1, c + 1, 2): mean grey level of LR and of the looked-up tele photograph.
        calibration: What the bounds were multiplied by.
    """

    region: Region
    centres: Points
    shifts_px: AnyArray
    covariances: AnyArray
    trusted: Mask
    torn: Mask
    correlation: AnyArray
    textured: Mask
    blur: AnyArray
    seen: AnyArray
    valid: AnyArray
    clipped: AnyArray
    means: AnyArray
    calibration: float

    @property
    def lengths_px(self) -> AnyArray:
        """Lengths of the trusted displacements, (n,)."""
        lengths: AnyArray = np.hypot(*self.shifts_px[self.trusted].T)
        return lengths


@dataclass(frozen=True)
class Prepared:
    """Both photographs as they are compared: brightness, the tele one blurred to what LR's grid can hold.

    Attributes:
        lr: (h, w) of the whole LR photograph.
        tele: (H, W) of the whole tele photograph, blurred.
        clipped_lr: Pixels at either end of LR's range.
    """

    lr: Float32Array
    tele: Float32Array
    clipped_lr: Mask


def prepare(lr: Float32Array, tele: Float32Array, zoom: float) -> Prepared:
    """Make both photographs ready.

    Args:
        lr: Brightness, grey levels.
        tele: The same.
        zoom: Tele pixels per LR pixel.
    """
    return Prepared(lr, blur(tele, PREFILTER_PX * zoom), (lr <= BLACK_LEVEL) | (lr >= WHITE_LEVEL))


def measure_residual(
    prepared: Prepared, mapping: Mapping, region: Region, *, sigma_px: float = 0.6, rounds: int = _ROUNDS
) -> Residual:
    """Measure what a mapping leaves.

    Args:
        prepared: Both photographs.
        mapping: From LR to tele.
        region: Of LR, as `find_region` gives it.
        sigma_px: Blur of both sides before they are compared, LR px: wide at first, so that larger displacements are
            within reach; a little at last, against noise.
        rounds: How often the picture is looked up anew.
    """
    region = Region(region.left, region.top, region.width // CELL_PX * CELL_PX, region.height // CELL_PX * CELL_PX)
    rows, columns = region.height // CELL_PX, region.width // CELL_PX
    low = blur(prepared.lr, sigma_px)[region.slices] if sigma_px else prepared.lr[region.slices]
    low = np.ascontiguousarray(low)
    clipped_low = prepared.clipped_lr[region.slices]
    places = look_up(mapping, region)
    seen = _is_inside(places, mapping)
    raw = sample(prepared.tele, places, "lanczos4")
    clipped = (clipped_low | (raw <= BLACK_LEVEL) | (raw >= WHITE_LEVEL)) & seen
    # The borders of clipped places are wrong too: blurred there is what was clipped before.
    usable = seen & ~dilate(clipped | ~seen, 2)
    weights = usable.astype(np.float32)
    jacobian = mapping.jacobians(_middle(region))  # nearly the same everywhere; only the steps are scaled by it
    moved = np.zeros((rows, columns, 2), np.float32)  # displacement that is already looked up, on cells
    low = low - np.float32(128)
    solved = None
    for turn in range(max(1, rounds)):
        field = enlarge_linearly(moved, CELL_PX) if turn else None
        shifted = places if field is None else places + field @ jacobian.T.astype(np.float32)
        high = blur(sample(prepared.tele, shifted, "lanczos4"), sigma_px) - np.float32(128)
        solved = _solve(low, high, weights)
        done = sum_windows(moved.astype(np.float64)) / 4
        total = done + np.clip(solved.shifts, -_LARGEST_STEP_PX, _LARGEST_STEP_PX)
        moved = _on_cells(total, solved.precision).astype(np.float32)
    assert solved is not None
    return _conclude(region, total, solved, weights, seen, clipped)


@dataclass(frozen=True)
class _Solution:
    """Least squares on every window; see `Residual` for shapes."""

    shifts: AnyArray
    covariances: AnyArray
    halves_apart: AnyArray
    halves_sigma: AnyArray
    blur: AnyArray
    correlation: AnyArray
    power: AnyArray
    noise: AnyArray
    means: AnyArray
    precision: AnyArray


def _solve(low: Float32Array, high: Float32Array, weights: Float32Array) -> _Solution:
    # The gradient of both sides' mean would be less biased by noise, but mixes in what only one side shows.
    grad_x, grad_y = _difference(high, 1), _difference(high, 0)
    laplacian = _difference(grad_x, 1) + _difference(grad_y, 0)
    basis = (high, laplacian, grad_x, grad_y, np.ones_like(high))
    normal, right = _products(basis, low, weights)
    total = sum_cells(weights * low * low)
    count = sum_cells(weights)
    window = _fit(sum_windows(normal), sum_windows(right), sum_windows(total), sum_windows(count))
    cell = _fit(normal, right, total, count)
    halves = [
        _fit(
            normal[dy:rows, :-1] + normal[1 - dy : rows + 1 - 2 * dy or None, 1:],
            right[dy:rows, :-1] + right[1 - dy : rows + 1 - 2 * dy or None, 1:],
            total[dy:rows, :-1] + total[1 - dy : rows + 1 - 2 * dy or None, 1:],
            count[dy:rows, :-1] + count[1 - dy : rows + 1 - 2 * dy or None, 1:],
        )
        for dy, rows in ((0, normal.shape[0] - 1), (1, normal.shape[0]))
    ]
    apart = halves[0].solution[..., 2:4] - halves[1].solution[..., 2:4]
    sigma = np.sqrt(halves[0].covariance.trace(axis1=-2, axis2=-1) + halves[1].covariance.trace(axis1=-2, axis2=-1))
    # normal holds sums of (high, 1): their quotient is the mean of the looked-up side.
    safe = np.maximum(count, 1)
    means = np.stack([right[..., 4] / safe, normal[..., 0, 4] / safe], axis=-1) + 128
    power_low = total / safe - (right[..., 4] / safe) ** 2
    power_high = normal[..., 0, 0] / safe - (normal[..., 0, 4] / safe) ** 2
    return _Solution(
        shifts=window.solution[..., 2:4],
        covariances=window.covariance,
        halves_apart=apart,
        halves_sigma=sigma,
        blur=window.solution[..., 1] / np.where(np.abs(window.solution[..., 0]) > 0.1, window.solution[..., 0], np.inf),
        correlation=1 - cell.variance / np.maximum(power_low, cell.variance + 1e-9),
        power=np.maximum(power_low, power_high),
        noise=cell.variance,
        means=means,
        precision=1 / np.maximum(window.covariance.trace(axis1=-2, axis2=-1), 1e-6),
    )


def _difference(plane: Float32Array, axis: int) -> Float32Array:
    """Half the difference of both neighbours; at the border that of the border's pixels."""
    gradient: Float32Array = np.empty_like(plane)
    if axis == 1:
        gradient[:, 1:-1] = (plane[:, 2:] - plane[:, :-2]) / 2
        gradient[:, 0], gradient[:, -1] = plane[:, 1] - plane[:, 0], plane[:, -1] - plane[:, -2]
    else:
        gradient[1:-1] = (plane[2:] - plane[:-2]) / 2
        gradient[0], gradient[-1] = plane[1] - plane[0], plane[-1] - plane[-2]
    return gradient


def _products(basis: tuple[Float32Array, ...], low: Float32Array, weights: Float32Array) -> tuple[AnyArray, AnyArray]:
    """Sum over the cells of all products: (r, c, 5, 5) and (r, c, 5)."""
    weighted = [weights * term for term in basis]
    rows, columns = low.shape[0] // CELL_PX, low.shape[1] // CELL_PX
    normal = np.empty((rows, columns, _UNKNOWNS, _UNKNOWNS))
    right = np.empty((rows, columns, _UNKNOWNS))
    for i, first in enumerate(weighted):
        right[..., i] = sum_cells(first * low)
        for j in range(i, _UNKNOWNS):
            normal[..., i, j] = normal[..., j, i] = sum_cells(first * basis[j])
    return normal, right


@dataclass(frozen=True)
class _Fit:
    solution: AnyArray
    covariance: AnyArray
    variance: AnyArray


def _fit(normal: AnyArray, right: AnyArray, total: AnyArray, count: AnyArray) -> _Fit:
    """Solve all windows; the covariance is that of dx and dy with the other unknowns free."""
    # A little weight holds the gain to 0, the blur to 0 and, in `_PRIOR_PX`, the displacement to 0. What it weighs is
    # noise of about one grey level.
    held = np.diag([1e-2, 1.0, 1 / _PRIOR_PX**2, 1 / _PRIOR_PX**2, 1e-2])
    matrix = normal + held
    inverse = np.linalg.inv(matrix)
    solution = np.einsum("...ij,...j->...i", inverse, right)
    left = total - 2 * (solution * right).sum(-1) + np.einsum("...i,...ij,...j->...", solution, normal, solution)
    variance = np.maximum(left, 0) / np.maximum(count - _UNKNOWNS, 1) + _NOISE_FLOOR**2
    covariance = inverse[..., 2:4, 2:4] * variance[..., None, None]
    return _Fit(solution, covariance, variance)


def _on_cells(windows: AnyArray, precision: AnyArray) -> AnyArray:
    """Displacements of windows as displacements of cells: the mean of those a cell lies in, by precision."""
    rows, columns = windows.shape[:2]
    sums = np.zeros((rows + 1, columns + 1, 2))
    weights = np.zeros((rows + 1, columns + 1, 1))
    for dy in (0, 1):
        for dx in (0, 1):
            sums[dy : dy + rows, dx : dx + columns] += windows * precision[..., None]
            weights[dy : dy + rows, dx : dx + columns] += precision[..., None]
    cells: AnyArray = sums / weights
    return cells


def _conclude(
    region: Region, shifts: AnyArray, solved: _Solution, weights: Float32Array, seen: Mask, clipped: Mask
) -> Residual:
    area = CELL_PX * CELL_PX
    valid = sum_cells(weights) / area
    enough = sum_windows(valid) / 4 >= _LEAST_VALID
    apart = np.hypot(*np.moveaxis(solved.halves_apart, -1, 0))
    sigma = np.sqrt(solved.covariances.trace(axis1=-2, axis2=-1))
    # Halves of a window that shows one thing differ by what their bounds say, times what the bounds are too small by.
    precise = enough & (solved.halves_sigma < 0.5)
    ratio = np.median(apart[precise] / solved.halves_sigma[precise]) / 0.83 if precise.any() else 1.0
    calibration = float(np.clip(ratio, 1.0, 10.0))  # 0.83: median length of a 2-D normal whose trace is 1
    sigma = sigma * calibration
    torn = precise & (apart > _HALVES_SIGMAS * calibration * solved.halves_sigma + 0.15)
    trusted = enough & (sigma < _MOST_SIGMA_PX) & ~torn
    floor = np.median(solved.noise)
    textured = (valid >= _LEAST_VALID) & (solved.power > 8 * min(float(floor), 12.0) + 4)
    rows, columns = shifts.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).astype(np.float64)
    centres = (grid + 1) * CELL_PX - 0.5 + np.array([region.left, region.top])
    return Residual(
        region=region,
        centres=centres,
        shifts_px=shifts,
        covariances=solved.covariances * calibration**2,
        trusted=trusted,
        torn=torn,
        correlation=np.clip(solved.correlation, 0, 1),
        textured=textured,
        blur=solved.blur,
        seen=sum_cells(seen.astype(np.float32)) / area,
        valid=valid,
        clipped=sum_cells(clipped.astype(np.float32)) / area,
        means=solved.means,
        calibration=calibration,
    )


def _is_inside(places: AnyArray, mapping: Mapping) -> Mask:
    margin = 2.0 * mapping.zoom  # the blur and the interpolation reach that far
    inside: Mask = (
        (places[..., 0] > margin)
        & (places[..., 1] > margin)
        & (places[..., 0] < mapping.tele.width_px - 1 - margin)
        & (places[..., 1] < mapping.tele.height_px - 1 - margin)
    )
    return inside


def _middle(region: Region) -> Points:
    return np.array([region.left + (region.width - 1) / 2, region.top + (region.height - 1) / 2])
