"""Tile layout of an image and blending weights, as pure arithmetic.

All tiles of an image have one shape, so that they can be run in one batch, and origins at multiples of the alignment,
so that pooling cells and attention windows fall where they fall in the whole image. The last tile ends where the image
ends, and the tile's size leaves the same remainder as the image's: so the network sees (and pads) the right and bottom
border exactly as it does in the whole image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np

RAMP_PX: Final = 8
"""LR pixels over which one tile fades into the next; even."""


@dataclass(frozen=True)
class Strip:
    """One tile along one axis, in LR pixels.

    Attributes:
        start: Where the network's input begins.
        stop: Where it ends.
        keep_start: Where its result begins to count.
        keep_stop: Where it ceases to count. Outside, the tile lacks context.
    """

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def size(self) -> int:
        """The length of the input."""
        return self.stop - self.start


@dataclass(frozen=True)
class Axis:
    """All tiles along one axis.

    Attributes:
        length: The image's size in LR pixels.
        strips: The tiles in order, all of one size.
    """

    length: int
    strips: tuple[Strip, ...]

    def weights(self, index: int, scale: int) -> np.ndarray:
        """How much each HR pixel that tile `index` keeps counts.

        The weights of all tiles sum to one everywhere: each is its own rise less the rise of its right neighbour.

        Returns:
            (scale * (keep_stop - keep_start),) float32 in [0, 1].
        """
        strip = self.strips[index]
        places = np.arange(strip.keep_start * scale, strip.keep_stop * scale)
        weights = np.ones(len(places))
        if index > 0:
            weights = self._rise(index, places, scale)
        if index + 1 < len(self.strips):
            weights = weights - self._rise(index + 1, places, scale)
        return weights.astype(np.float32)

    def _rise(self, index: int, places: np.ndarray, scale: int) -> np.ndarray:
        """From 0 to 1 over the ramp at the beginning of what tile `index` keeps."""
        steps = places - self.strips[index].keep_start * scale
        return np.clip((steps + 0.5) / (RAMP_PX * scale), 0, 1)


@dataclass(frozen=True)
class Tile:
    """One tile: its row and column among the tiles, and its place along both axes."""

    row: int
    column: int
    vertical: Strip
    horizontal: Strip


@dataclass(frozen=True)
class TilePlan:
    """All tiles of one image.

    Attributes:
        vertical: The rows of tiles.
        horizontal: The columns of tiles.
    """

    vertical: Axis
    horizontal: Axis

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, row by row."""
        return tuple(
            Tile(row, column, vertical, horizontal)
            for row, vertical in enumerate(self.vertical.strips)
            for column, horizontal in enumerate(self.horizontal.strips)
        )

    @property
    def height_px(self) -> int:
        """The height of every tile's input."""
        return self.vertical.strips[0].size

    @property
    def width_px(self) -> int:
        """The width of every tile's input."""
        return self.horizontal.strips[0].size


def plan_tiles(
    height_px: int, width_px: int, *, tile_px: int, pad_px: int, multiple_px: int = 1, most_rows_px: int | None = None
) -> TilePlan:
    """Cover an image with overlapping tiles.

    Args:
        height_px: LR height, at least 1.
        width_px: LR width, at least 1.
        tile_px: About how many new pixels a tile brings along each axis; 0 for one tile over everything.
        pad_px: Context on each inner side of a tile that is computed and thrown away. What remains is exact where the
            pad covers the network's receptive field.
        multiple_px: Alignment of the origins.
        most_rows_px: At most about how many new rows a tile brings, where that is less than `tile_px`.

    Returns:
        Tiles whose inputs are at most about ``tile_px + 2 * pad_px + RAMP_PX`` wide and high; fewer pixels where the
        image divides better.
    """
    rows_px = tile_px if most_rows_px is None else min(tile_px or most_rows_px, most_rows_px)
    return TilePlan(
        plan_axis(height_px, tile_px=rows_px, pad_px=pad_px, multiple_px=multiple_px),
        plan_axis(width_px, tile_px=tile_px, pad_px=pad_px, multiple_px=multiple_px),
    )


def plan_axis(length: int, *, tile_px: int, pad_px: int, multiple_px: int = 1) -> Axis:
    """Cover one axis; the arguments are those of `plan_tiles`.

    Everything is counted in units of `multiple_px`: the image's length, its remainder left out, the overlap that
    neighbours need at least, and the size of a tile, which has the image's remainder on top.
    """
    rest = length % multiple_px
    units = length // multiple_px
    overlap_units = max(0, _divide_up(2 * pad_px + RAMP_PX - rest, multiple_px))
    most_units = overlap_units + max(1, tile_px // multiple_px)
    if tile_px == 0 or most_units >= units:
        return Axis(length, (Strip(0, length, 0, length),))
    count = _divide_up(units - overlap_units, most_units - overlap_units)
    tile_units = overlap_units + _divide_up(units - overlap_units, count)  # no larger than so many tiles need
    size = tile_units * multiple_px + rest
    starts = [index * (units - tile_units) // (count - 1) * multiple_px for index in range(count)]
    # Neighbours meet in the middle of their overlap, where both have most context.
    seams = [(before + size + after) // 2 for before, after in pairwise(starts)]
    half = RAMP_PX // 2
    strips = tuple(
        Strip(start, start + size, keep_start, keep_stop)
        for start, keep_start, keep_stop in zip(
            starts,
            [0, *(seam - half for seam in seams)],
            [*(seam + half for seam in seams), length],
            strict=True,
        )
    )
    return Axis(length, strips)


def _divide_up(dividend: int, divisor: int) -> int:
    """Division rounded up."""
    return -(-dividend // divisor)
