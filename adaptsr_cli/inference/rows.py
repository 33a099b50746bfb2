"""Row buffer for a result made from top to bottom, which holds only the rows still in work."""

from __future__ import annotations

from typing import Any

import numpy as np

from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.units import format_bytes

Floats = np.ndarray[Any, np.dtype[np.float32]]


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
        """Makes room for the rows above `stop_px`, all zero.

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
        """Adds (h, w, 3) at a place of the result; `extend` must have made room."""
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
