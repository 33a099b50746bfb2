"""Which blocks of a registered shot become pairs. What is wrong with a block is named; nothing is bent to fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.registration.geometry import Region
from adaptsr_cli.registration.planes import CELL_PX, Mask, spread_windows
from adaptsr_cli.registration.residual import Residual

Reason = Literal["parallax", "movement", "light", "saturation", "tele defocus", "wide defocus", "no texture"]

REASONS: Final[dict[Reason, str]] = {
    "tele defocus": "is out of focus in the tele photograph",
    "wide defocus": "is out of focus in the wide photograph",
    "parallax": "shows the same, but elsewhere: a near thing, or one that moved as a whole",
    "movement": "shows something else",
    "light": "is lit differently",
    "saturation": "is burnt out or black",
    "no texture": "has too little detail to be registered, or to be learnt from",
}
"""Reason -> what the block does, for people; in the order in which they are given where several hold."""

MOST_SHIFT_PX: Final = 0.3
"""A trusted window that is further off, in LR px, is elsewhere."""
_SIGMAS: Final = 3.0
_LEAST_CORRELATION: Final = 0.6
_MOST_LIGHT_LEVELS: Final = 6.0
_LIGHT_SPREADS: Final = 6.0
_MOST_CLIPPED: Final = 0.04
_LEAST_TRUSTED: Final = 0.3
# Of the Laplacian's factor, px^2: half the difference of both blurs' variances. 0.25 is a blur of 0.7 LR px more.
_MOST_SOFTER: Final = 0.25
_LEAST_SEEN: Final = 0.999


@dataclass(frozen=True)
class Block:
    """A square of the LR grid.

    Attributes:
        region: Where.
        reason: Why it is dropped; None for one that is kept.
        shift_px: Median displacement (x, y) of its trusted windows; zeros where there is none.
        worst_px: The longest of them.
    """

    region: Region
    reason: Reason | None
    shift_px: tuple[float, float]
    worst_px: float


@dataclass(frozen=True)
class Faults:
    """What is wrong with each cell, (r, c) each."""

    parallax: Mask
    movement: Mask
    light: Mask


def find_faults(residual: Residual, expected_means: AnyArray | None) -> Faults:
    """Find cells that do not show the same thing at the same place.

    Args:
        residual: Measured with the final mapping.
        expected_means: (r, c) grey levels: what LR's brightness should be in the mean by the photometric fit; None
            where there is none.
    """
    shift = np.hypot(*np.moveaxis(residual.shifts_px, -1, 0))
    sigma = np.sqrt(residual.covariances.trace(axis1=-2, axis2=-1))
    elsewhere = residual.trusted & (shift > np.maximum(MOST_SHIFT_PX, _SIGMAS * sigma))
    parallax = spread_windows(elsewhere)
    movement = residual.textured & (residual.correlation < _LEAST_CORRELATION)
    movement |= spread_windows(residual.torn)
    light = np.zeros_like(movement)
    if expected_means is not None:
        off = residual.means[..., 0] - expected_means
        known = residual.valid > 0.5
        if known.any():
            middle = float(np.median(off[known]))
            spread = 1.4826 * float(np.median(np.abs(off[known] - middle)))
            light = known & (np.abs(off - middle) > max(_MOST_LIGHT_LEVELS, _LIGHT_SPREADS * spread))
    return Faults(parallax, movement, light)


def choose_blocks(residual: Residual, faults: Faults, block_px: int) -> tuple[Block, ...]:
    """Cut the region into blocks, all that the tele photograph shows whole, and judge each.

    The grid is shifted by whole cells to where most blocks are kept.

    Args:
        residual: Measured with the final mapping.
        faults: Of its cells.
        block_px: Side of a block in LR px, a multiple of the cell's.
    """
    side = block_px // CELL_PX
    rows, columns = residual.valid.shape
    if rows < side or columns < side:
        return ()
    best: tuple[int, int, list[Block]] | None = None
    softness = _softness(residual)
    tables = {
        "seen": _table(residual.seen), "clipped": _table(residual.clipped), "parallax": _table(faults.parallax),
        "movement": _table(faults.movement), "light": _table(faults.light),
    }  # fmt: skip
    for top in range(min(side, rows - side + 1)):
        for left in range(min(side, columns - side + 1)):
            places = [
                (row, column)
                for row in range(top, rows - side + 1, side)
                for column in range(left, columns - side + 1, side)
                if _mean(tables["seen"], row, column, side) >= _LEAST_SEEN
            ]
            blocks = [_judge(residual, tables, softness, row, column, side) for row, column in places]
            kept = sum(block.reason is None for block in blocks)
            if best is None or (kept, len(blocks)) > best[:2]:
                best = kept, len(blocks), blocks
    assert best is not None
    return tuple(best[2])


def _judge(
    residual: Residual, tables: dict[str, AnyArray], softness: AnyArray, row: int, column: int, side: int
) -> Block:
    # Windows that lie in the block whole.
    inside = slice(row, row + side - 1), slice(column, column + side - 1)
    trusted = residual.trusted[inside]
    shifts = residual.shifts_px[inside][trusted]
    lengths = np.hypot(*shifts.T)
    middle = np.median(shifts, axis=0) if len(shifts) else np.zeros(2)
    soft = softness[inside][trusted]
    cells = slice(row, row + side), slice(column, column + side)
    textured = residual.textured[cells]
    same = bool(textured.any()) and float(np.median(residual.correlation[cells][textured])) > _LEAST_CORRELATION
    middle_px2 = float(np.median(soft)) if same and trusted.mean() >= _LEAST_TRUSTED else 0.0
    reason: Reason | None = None
    # First of all, for what is out of focus on one side cannot be registered well, and would be called near.
    if middle_px2 < -_MOST_SOFTER:
        reason = "tele defocus"
    elif middle_px2 > _MOST_SOFTER:
        reason = "wide defocus"
    elif _mean(tables["parallax"], row, column, side) > 0:
        reason = "parallax"
    elif _mean(tables["movement"], row, column, side) > 0:
        reason = "movement"
    elif _mean(tables["light"], row, column, side) > 0:
        reason = "light"
    elif _mean(tables["clipped"], row, column, side) > _MOST_CLIPPED:
        reason = "saturation"
    elif trusted.mean() < _LEAST_TRUSTED:
        reason = "no texture"
    origin = residual.region
    place = Region(origin.left + column * CELL_PX, origin.top + row * CELL_PX, side * CELL_PX, side * CELL_PX)
    return Block(
        place,
        reason,
        (float(middle[0]), float(middle[1])),
        float(lengths.max()) if len(lengths) else 0.0,
    )


def _softness(residual: Residual) -> AnyArray:
    """(r, c) px^2: how much softer LR is against the tele photograph than the median of all windows says."""
    known = residual.trusted
    middle = float(np.median(residual.blur[known])) if known.any() else 0.0
    softness: AnyArray = residual.blur - middle
    return softness


def _table(cells: AnyArray) -> AnyArray:
    """Summed-area table with a row and column of zeros before."""
    return np.pad(cells.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))


def _mean(table: AnyArray, row: int, column: int, side: int) -> float:
    total = table[row + side, column + side] - table[row, column + side] - table[row + side, column]
    return float((total + table[row, column]) / side**2)
