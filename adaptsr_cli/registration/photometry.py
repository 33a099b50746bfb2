"""What turns the tele photograph's colours into the wide one's: black level, gain, tone and a smooth field.

Fitted per channel on both photographs as LR shows them, both blurred so far that the sharpness of the lenses plays no
part. The model is linear in its numbers,

    LR = c0 + T (c1 + field(x, y)) + c2 T^2 + c3 T^3,

and as simple as held-out places allow: the steps of `_MODELS` are tried in turn, and a richer one is taken only where
it is better on tiles that it was not fitted to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.registration.geometry import Region
from adaptsr_cli.registration.opencv import blur
from adaptsr_cli.registration.planes import Mask

_BLUR_PX: Final = 2.0
_STRIDE_PX: Final = 3
_MOST_SAMPLES: Final = 60_000
_TILE_PX: Final = 64
_FOLDS: Final = 4
_LEAST_GAIN: Final = 0.015
# Exponents of (T, x, y) of each term. x and y run from -1 to 1 over the region.
_LINEAR: Final = ((0, 0, 0), (1, 0, 0))
_FIELD: Final = (*_LINEAR, (1, 1, 0), (1, 0, 1), (1, 2, 0), (1, 1, 1), (1, 0, 2))
_TONE: Final = (*_FIELD, (2, 0, 0))
_CUBIC: Final = (*_TONE, (3, 0, 0))
_FINE_FIELD: Final = (*_CUBIC, (1, 3, 0), (1, 2, 1), (1, 1, 2), (1, 0, 3), (1, 4, 0), (1, 2, 2), (1, 0, 4))
_MODELS: Final = (
    ("gain and offset", _LINEAR),
    ("gain, offset and field", _FIELD),
    ("gain, offset, field and tone", _TONE),
    ("gain, offset, field and cubic tone", _CUBIC),
    ("gain, offset, fine field and cubic tone", _FINE_FIELD),
)


@dataclass(frozen=True)
class Photometry:
    """A fitted change of colours, in grey levels of 0 to 255.

    Attributes:
        model: Its name.
        terms: Exponents of T / 255, x and y of each number.
        coefficients: One row a channel, grey levels.
        range_levels: For each channel the range in which it was fitted; outside it goes on straight.
        region: Where x and y run from -1 to 1.
        left_levels: For each channel the median size of what is left at the places it was fitted to.
        held_out_levels: Mean size of what is left on held-out tiles, over the channels.
        before_levels: The same without any change of colours.
    """

    model: str
    terms: tuple[tuple[int, int, int], ...]
    coefficients: tuple[tuple[float, ...], ...]
    range_levels: tuple[tuple[float, float], ...]
    region: Region
    left_levels: tuple[float, float, float]
    held_out_levels: float
    before_levels: float

    def gains(self) -> tuple[float, ...]:
        """By how much each channel is multiplied in the middle of the region, at the middle of its range."""
        return tuple(
            float(self._slope(np.array([(low + high) / 2]), np.zeros(1), np.zeros(1), row)[0])
            for row, (low, high) in zip(self.coefficients, self.range_levels, strict=True)
        )

    def offsets(self) -> tuple[float, ...]:
        """What each channel's black becomes, grey levels."""
        return tuple(row[0] for row in self.coefficients)

    def apply(self, image: AnyArray, x: AnyArray, y: AnyArray) -> AnyArray:
        """Changes the colours.

        Args:
            image: (h, w, 3) float32, grey levels.
            x: (w,) LR px: where the columns lie.
            y: (h,) LR px: where the rows lie.

        Returns:
            (h, w, 3) float32, not clipped.
        """
        across = (2 * (x - self.region.left) / max(self.region.width - 1, 1) - 1).astype(np.float32)[None, :]
        down = (2 * (y - self.region.top) / max(self.region.height - 1, 1) - 1).astype(np.float32)[:, None]
        changed = np.empty_like(image)
        for channel, (row, (low, high)) in enumerate(zip(self.coefficients, self.range_levels, strict=True)):
            values = image[..., channel]
            held = np.clip(values, low, high)
            slope = self._slope(held, across, down, row)
            changed[..., channel] = self._value(held, across, down, row) + slope * (values - held)
        return changed

    def _value(self, values: AnyArray, across: AnyArray, down: AnyArray, row: tuple[float, ...]) -> AnyArray:
        unit = values * np.float32(1 / 255)
        total: AnyArray = np.zeros(np.broadcast_shapes(values.shape, across.shape, down.shape), np.float32)
        for power in sorted({term[0] for term in self.terms}, reverse=True):
            total = total * unit if total.any() else total
            total = total + self._field(power, across, down, row)
        return total

    def _slope(self, values: AnyArray, across: AnyArray, down: AnyArray, row: tuple[float, ...]) -> AnyArray:
        unit = values * np.float32(1 / 255)
        total: AnyArray = np.zeros(np.broadcast_shapes(values.shape, across.shape, down.shape), np.float32)
        for power in sorted({term[0] for term in self.terms} - {0}, reverse=True):
            total = total * unit if total.any() else total
            total = total + np.float32(power / 255) * self._field(power, across, down, row)
        return total

    def _field(self, power: int, across: AnyArray, down: AnyArray, row: tuple[float, ...]) -> AnyArray:
        """What stands before T^power: a polynomial in x and y."""
        total: AnyArray = np.zeros(np.broadcast_shapes(across.shape, down.shape), np.float32)
        for (exponent, i, j), number in zip(self.terms, row, strict=True):
            if exponent == power:
                total = total + np.float32(number) * across**i * down**j
        return total


def fit_photometry(lr: AnyArray, tele: AnyArray, usable: Mask, region: Region) -> Photometry | None:
    """Fits the tele photograph's colours to LR's.

    Args:
        lr: (h, w, 3) float32, grey levels: a region of the LR photograph.
        tele: (h, w, 3) float32: the tele photograph looked up there.
        usable: (h, w): pixels at which both show the same, unclipped.
        region: Where they lie.

    Returns:
        The fit; None where fewer than 200 places are usable.
    """
    rows, columns = np.nonzero(usable[::_STRIDE_PX, ::_STRIDE_PX])
    rows, columns = rows * _STRIDE_PX, columns * _STRIDE_PX
    if len(rows) < 200:
        return None
    if len(rows) > _MOST_SAMPLES:
        chosen = np.random.default_rng(0).choice(len(rows), _MOST_SAMPLES, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    low, high = blur(lr, _BLUR_PX)[rows, columns], blur(tele, _BLUR_PX)[rows, columns]  # (n, 3)
    x = 2 * columns / max(region.width - 1, 1) - 1
    y = 2 * rows / max(region.height - 1, 1) - 1
    folds = _deal_tiles(rows, columns)
    best: int | None = None
    best_left = np.inf
    for index, (_, terms) in enumerate(_MODELS):
        left = float(np.mean([_hold_out(high[:, c], x, y, low[:, c], terms, folds) for c in range(3)]))
        if best is None or left < best_left * (1 - _LEAST_GAIN):
            best, best_left = index, left
    assert best is not None
    name, terms = _MODELS[best]
    numbers, lefts = [], []
    for channel in range(3):
        design = _design(high[:, channel], x, y, terms)
        found = _fit_robustly(design, low[:, channel])
        numbers.append(tuple(float(value) for value in found))
        lefts.append(float(np.median(np.abs(low[:, channel] - design @ found))))
    ranges = np.percentile(high, [0.3, 99.7], axis=0)
    return Photometry(
        model=name,
        terms=terms,
        coefficients=tuple(numbers),
        range_levels=tuple((float(a), float(b)) for a, b in ranges.T),
        region=region,
        left_levels=(lefts[0], lefts[1], lefts[2]),
        held_out_levels=float(best_left),
        before_levels=float(np.abs(low - high).mean()),
    )


def _deal_tiles(rows: AnyArray, columns: AnyArray) -> AnyArray:
    tiles = rows // _TILE_PX * 100_003 + columns // _TILE_PX
    names, tile_of = np.unique(tiles, return_inverse=True)
    folds: AnyArray = (np.random.default_rng(0).permutation(len(names)) % _FOLDS)[tile_of]
    return folds


def _design(values: AnyArray, x: AnyArray, y: AnyArray, terms: tuple[tuple[int, int, int], ...]) -> AnyArray:
    unit = values / 255
    return np.stack([unit**k * x**i * y**j for k, i, j in terms], axis=1)


def _hold_out(
    values: AnyArray,
    x: AnyArray,
    y: AnyArray,
    wanted: AnyArray,
    terms: tuple[tuple[int, int, int], ...],
    folds: AnyArray,
) -> float:
    design = _design(values, x, y, terms)
    left = np.empty_like(wanted, dtype=np.float64)
    for fold in range(_FOLDS):
        inside = folds != fold
        if inside.all() or inside.sum() < 4 * len(terms):
            return (
                float("inf")
                if len(terms) > 2
                else float(np.abs(wanted - design @ _fit_robustly(design, wanted)).mean())
            )
        left[~inside] = wanted[~inside] - design[~inside] @ _fit_robustly(design[inside], wanted[inside])
    return float(np.minimum(np.abs(left), 4 * np.median(np.abs(left)) + 0.5).mean())


def _fit_robustly(design: AnyArray, wanted: AnyArray) -> AnyArray:
    """Least squares with Tukey's weights: what moved or shines on one side only has no say."""
    weights = np.ones(len(wanted))
    held = 1e-6 * len(wanted) * np.eye(design.shape[1])
    for _ in range(8):
        weighted = design * weights[:, None]
        found: AnyArray = np.linalg.solve(weighted.T @ design + held * 1e-3, weighted.T @ wanted)
        left = np.abs(wanted - design @ found)
        scale = max(0.3, float(np.median(left)) / 0.6745)
        weights = np.clip(1 - (left / (4.7 * scale)) ** 2, 0, None) ** 2
    return found
