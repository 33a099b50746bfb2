"""Upscaling of TIFF files larger than memory, row by row, in an amount of memory known beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.inference.engine import OnTile, Upscaler
from adaptsr_cli.inference.picture import to_depth
from adaptsr_cli.inference.tiles import TilePlan
from adaptsr_cli.io.atomic import replace_atomically
from adaptsr_cli.io.attached.policy import KeepPolicy
from adaptsr_cli.io.large_tiff import TILE_PX, WRITE_BUFFER_BYTES, LargeTiff, LargeTiffReader, write_large_tiff
from adaptsr_cli.units import format_bytes

MIN_ROWS_PX: Final = 32
"""The fewest LR rows that a row of tiles advances: below, nearly all of a tile would be its margin."""

_MAX_ROWS_BYTES: Final = 1 << 30  # of result rows in work, as float32; more makes nothing faster
_FIXED_BYTES: Final = 128 << 20  # interpreter's odds and ends, tables of the file, a tile in the network


def stream_tiff(
    upscaler: Upscaler,
    source: Path,
    target: Path,
    *,
    room_bytes: int,
    note: Callable[[], str | None],
    policy: KeepPolicy = KeepPolicy(),  # noqa: B008
    on_tile: OnTile | None = None,
) -> None:
    """Upscale a TIFF of one page, grey or RGB, 8 or 16 bits, into a tiled TIFF, by the network's own factor.

    Pixels, depth, colour profile and what goes with the picture are those that the whole image would give.

    Args:
        upscaler: The network.
        source: The picture.
        target: The result; appears only when it is whole.
        room_bytes: How much memory may be used.
        note: Gives any text to keep in the result's XMP; called when the first rows are there.
        policy: What goes along with the picture.
        on_tile: As for `Upscaler.run`.

    Raises:
        ImageError: The file cannot be read by rows, is damaged, or the network fails on it.
        AdaptsrError: `room_bytes` does not suffice, or the result cannot be written.
    """
    with LargeTiffReader(source) as reader:
        facts = reader.facts
        scale = upscaler.backbone.scale
        rows_px = _fitting_rows_px(upscaler, facts, room_bytes, source)
        exif, attached = policy.apply(facts.exif, facts.attached)
        bands = _result_rows(upscaler, reader, rows_px, on_tile)
        with replace_atomically(target) as temporary:
            first = next(bands)  # what the note says of the engine is known then
            write_large_tiff(
                temporary,
                chain((first,), bands),
                like=replace(facts, exif=exif, attached=attached),
                width_px=scale * facts.width_px,
                height_px=scale * facts.height_px,
                note=note(),
            )


def streaming_bytes(upscaler: Upscaler, facts: LargeTiff, plan: TilePlan) -> int:
    """The most host memory that `stream_tiff` takes, in bytes; it does not depend on the image's height.

    Counted are the float rows in work twice (they are copied when they grow), the LR rows three times (as stored, as
    read and repeated to three channels), rounding of one row of output tiles, the tiles that wait to be compressed,
    and what must be decoded at once.
    """
    strips, scale = plan.vertical.strips, upscaler.backbone.scale
    together = min(len(strips), 1 + -(-(upscaler.batch - 1) // len(plan.horizontal.strips)))
    spans = [(strips[index], strips[index + together - 1]) for index in range(len(strips) - together + 1)]
    kept_px = max(last.keep_stop - first.keep_start for first, last in spans)
    read_px = max(last.stop - first.start for first, last in spans)
    item = facts.dtype.itemsize
    floats = 2 * 12 * scale**2 * kept_px * facts.width_px
    lr = 3 * 3 * item * read_px * facts.width_px
    rounding = (2 * 12 + 3 * 3 * item) * TILE_PX * scale * facts.width_px
    return floats + lr + rounding + 2 * facts.segment_bytes + 2 * WRITE_BUFFER_BYTES + _FIXED_BYTES


def _fitting_rows_px(upscaler: Upscaler, facts: LargeTiff, room_bytes: int, source: Path) -> int:
    """How many LR rows a row of tiles may advance."""
    row_bytes = 12 * upscaler.backbone.scale**2 * facts.width_px
    rows_px = max(MIN_ROWS_PX, min(_MAX_ROWS_BYTES, room_bytes // 4) // row_bytes)
    while True:
        plan = upscaler.plan(facts.height_px, facts.width_px, most_rows_px=rows_px)
        need_bytes = streaming_bytes(upscaler, facts, plan)
        if need_bytes <= room_bytes:
            return rows_px
        if rows_px == MIN_ROWS_PX:
            raise AdaptsrError(
                f"{source}: upscaling it by rows needs {format_bytes(need_bytes)} of memory, "
                f"and there are {format_bytes(room_bytes)}",
                "free some memory, use a smaller `tile_pad`, or cut the image into parts",
            )
        rows_px = max(MIN_ROWS_PX, rows_px // 2)


def _result_rows(
    upscaler: Upscaler, reader: LargeTiffReader, rows_px: int, on_tile: OnTile | None
) -> Iterator[AnyArray]:
    """The result from top to bottom in pieces of at most one row of output tiles: (rows, s W, C)."""
    facts = reader.facts
    dtype = np.dtype(np.float32) if facts.grey else facts.dtype
    for _, band in upscaler.bands(
        facts.height_px, facts.width_px, reader.read, most_rows_px=rows_px, on_tile=on_tile, dtype=dtype
    ):
        for start in range(0, len(band), TILE_PX):
            piece: np.ndarray = band[start : start + TILE_PX]
            if facts.grey:
                piece = piece.mean(axis=2, keepdims=True)
            yield piece if piece.dtype == facts.dtype else to_depth(piece, facts.dtype)
