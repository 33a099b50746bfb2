"""Row buffer for a result made from top to bottom, which holds only the rows still in work."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.inference.tiles import Tile, TilePlan
from adaptsr_cli.units import format_bytes

Floats = np.ndarray[Any, np.dtype[np.float32]]


def to_unit_range(pixels: np.ndarray) -> np.ndarray[Any, np.dtype[np.float32]]:
    """To float32 in [0, 1]: integers by the range of their type, never of their values; floats as they are."""
    floats = pixels.astype(np.float32)
    if np.issubdtype(pixels.dtype, np.integer):
        floats /= np.iinfo(pixels.dtype).max
    return floats


def empty_canvas(height_px: int, width_px: int, channels: int, dtype: npt.DTypeLike) -> np.ndarray:
    """Room for a result, (height_px, width_px, channels); what it holds at first is undefined.

    Raises:
        AdaptsrError: Not enough memory.
    """
    try:
        return np.empty((height_px, width_px, channels), dtype)
    except MemoryError as error:
        need_bytes = height_px * width_px * channels * np.dtype(dtype).itemsize
        raise AdaptsrError(
            f"the result of {width_px}x{height_px} px needs {format_bytes(need_bytes)} of memory",
            "cut the image into parts",
        ) from error


class PendingRows:
    """A window of rows to which tiles are added, and from whose top finished rows are taken.

    Args:
        width_px: Width of the result.
        start_px: Its first row that is wanted; what is added above is dropped.
    """

    def __init__(self, width_px: int, start_px: int = 0) -> None:
        self._top_px = start_px
        self._rows: Floats = np.zeros((0, width_px, 3), np.float32)

    def extend(self, stop_px: int) -> None:
        """Make room for the rows above `stop_px`, all zero.

        Raises:
            AdaptsrError: There is not enough memory.
        """
        missing = stop_px - self._top_px - len(self._rows)
        if missing <= 0:
            return
        shape = (missing, *self._rows.shape[1:])
        try:
            new = np.zeros(shape, np.float32)
            self._rows = np.concatenate([self._rows, new]) if len(self._rows) else new
        except MemoryError as error:
            raise AdaptsrError(
                f"{missing} rows of the result need {format_bytes(12 * missing * shape[1])} of memory",
                "use a smaller `tile`, or cut the image into parts",
            ) from error

    def add(self, row_px: int, column_px: int, share: Floats) -> None:
        """Add (h, w, 3) at a place of the result; `extend` must have made room."""
        share = share[max(0, self._top_px - row_px) :]
        row = max(row_px, self._top_px) - self._top_px
        self._rows[row : row + share.shape[0], column_px : column_px + share.shape[1]] += share

    def take(self, stop_px: int) -> Floats:
        """The rows above `stop_px`, which are no longer held then."""
        count = stop_px - self._top_px
        taken = self._rows[:count]
        self._rows = self._rows[count:].copy()
        self._top_px = stop_px
        return taken


def to_host(sr: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(3, h, w) on the device -> (h, w, 3) on the host."""
    return sr.permute(1, 2, 0).contiguous().cpu().numpy()


def cut_tile(rows: np.ndarray, tile: Tile, first_px: int) -> np.ndarray:
    """The input of one tile out of rows that begin at row `first_px` of the image."""
    return rows[
        tile.vertical.start - first_px : tile.vertical.stop - first_px, tile.horizontal.start : tile.horizontal.stop
    ]


def blend_tile(pending: PendingRows, plan: TilePlan, tile: Tile, sr: Tensor, scale: int) -> None:
    """Add what counts of one tile's result (3, s h, s w) to the rows that are being made."""
    vertical, horizontal = tile.vertical, tile.horizontal
    kept = sr[
        :,
        scale * (vertical.keep_start - vertical.start) : scale * (vertical.keep_stop - vertical.start),
        scale * (horizontal.keep_start - horizontal.start) : scale * (horizontal.keep_stop - horizontal.start),
    ]
    share = to_host(kept)
    # Most weights are 1, and a product over the whole tile would take a quarter of all the work outside the network.
    rows, columns = plan.vertical.weights(tile.row, scale), plan.horizontal.weights(tile.column, scale)
    share[rows != 1] *= rows[rows != 1, None, None]
    share[:, columns != 1] *= columns[columns != 1, None]
    pending.add(scale * vertical.keep_start, scale * horizontal.keep_start, share)
