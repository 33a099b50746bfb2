"""TIFF files that are larger than memory, read by rows and written by tiles."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import tifffile

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.attached.record import NOTHING, Attachments
from adaptsr_cli.io.attached.tiff_tags import attachments_of, exif_of, make_folders
from adaptsr_cli.io.attached.writing import Beside
from adaptsr_cli.io.colour.icc import is_linear
from adaptsr_cli.io.damage import find_damage
from adaptsr_cli.io.exif import set_size
from adaptsr_cli.io.faults import damaged, faults
from adaptsr_cli.io.tiff import (
    append_folders,
    has_all_segments,
    list_pages,
    read_folders,
    require_all_segments,
    require_page,
    tags_beside,
)

TILE_PX: Final = 256
"""Side of the tiles that are written."""

WRITE_BUFFER_BYTES: Final = 64 << 20
"""Pixels that wait to be compressed."""

_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _YCBCR = 0, 1, 2, 6
_JPEG = 7
_CONTIGUOUS = 1  # the samples of a pixel lie together
_ICC, _ORIENTATION = 34675, 274
_MAX_CLASSIC_BYTES: Final = 3 << 30  # above, a BigTIFF: offsets of 32 bits reach 4 GiB, and compression may fail


@dataclass(frozen=True)
class LargeTiff:
    """Facts of a large TIFF, read without its pixels.

    Attributes:
        width_px: Its width.
        height_px: Its height.
        dtype: ``uint8`` or ``uint16``.
        grey: Whether it has one channel; else it has three.
        icc: The colour profile.
        segment_bytes: What must be decoded to get a single row.
        exif: What the file says of the photograph.
        attached: What else it says.
    """

    width_px: int
    height_px: int
    dtype: np.dtype[Any]
    grey: bool
    icc: bytes | None
    segment_bytes: int
    exif: bytes | None = None
    attached: Attachments = NOTHING


class LargeTiffReader:
    """Reads rows of a TIFF of one page; to be used in a ``with`` block.

    Args:
        path: The file.

    Raises:
        ImageError: Not a TIFF, damaged, or of a kind that cannot be read by rows.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with faults(path):
            self._file = tifffile.TiffFile(path)
            try:
                page = self._file.pages.first
                assert isinstance(page, tifffile.TiffPage)
                self._page = page
                self.facts = _read_facts(self._file, page, path)
                if fault := find_damage(path):
                    raise damaged(path, fault)
            except BaseException:
                self._file.close()
                raise
        self._start_px = 0  # of the rows held
        self._rows: AnyArray = np.empty((0, self.facts.width_px, page.samplesperpixel), self.facts.dtype)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, start_px: int, stop_px: int) -> AnyArray:
        """Read some rows; what the last call has read already is not read again.

        Args:
            start_px: First row, not before that of the last call.
            stop_px: Row behind the last.

        Returns:
            (rows, W, 3), grey repeated; of the file's type.

        Raises:
            ImageError: The file is damaged.
        """
        with faults(self._path):
            held_px = self._start_px + len(self._rows)
            kept = self._rows[max(0, start_px - self._start_px) :]
            start_px = max(start_px, self._start_px)
            if stop_px > held_px:
                new = self._read_new(max(held_px, start_px), stop_px)
                self._rows = np.concatenate([kept, new]) if len(kept) else new
            else:
                self._rows = kept.copy()
            self._start_px = start_px
            rows = self._rows[: stop_px - start_px]
            return rows.repeat(3, axis=2) if rows.shape[2] == 1 else rows

    def _read_new(self, start_px: int, stop_px: int) -> AnyArray:
        """Rows from `start_px` to the end of the segments that hold the last of them."""
        page = self._page
        if page.is_contiguous:
            rows = self._read_plain(start_px, stop_px)
        else:
            height_px = page.tilelength if page.is_tiled else page.rowsperstrip
            stop_px = min(page.imagelength, -(-stop_px // height_px) * height_px)
            rows = self._decode(start_px, stop_px, height_px)
        return np.invert(rows) if page.photometric == _MIN_IS_WHITE else rows

    def _read_plain(self, start_px: int, stop_px: int) -> AnyArray:
        shape = (stop_px - start_px, self._page.imagewidth, self._page.samplesperpixel)
        row_bytes = shape[1] * shape[2] * self.facts.dtype.itemsize
        handle = self._file.filehandle
        handle.seek(self._page.dataoffsets[0] + start_px * row_bytes)
        data = handle.read(shape[0] * row_bytes)
        stored = np.frombuffer(data, self.facts.dtype.newbyteorder(self._file.byteorder))
        return stored.reshape(shape).astype(self.facts.dtype, copy=False)  # (rows, W, C)

    def _decode(self, start_px: int, stop_px: int, segment_px: int) -> AnyArray:
        page, handle = self._page, self._file.filehandle
        rows = np.zeros((stop_px - start_px, page.imagewidth, page.samplesperpixel), self.facts.dtype)
        across = -(-page.imagewidth // page.tilewidth) if page.is_tiled else 1
        tables = {"jpegtables": page.jpegtables} if page.compression == _JPEG else {}
        decode = page.decode  # first: finding out how to decode moves the file's position
        for index in range(start_px // segment_px * across, -(-stop_px // segment_px) * across):
            handle.seek(page.dataoffsets[index])
            decoded, place, _ = decode(handle.read(page.databytecounts[index]), index, **tables)
            if decoded is None:
                raise ValueError("pixels are missing")
            top, left = place[2], place[3]
            segment = decoded[0, max(0, start_px - top) : stop_px - top, : page.imagewidth - left]  # (h, w, C)
            row = max(top, start_px) - start_px
            rows[row : row + len(segment), left : left + segment.shape[1]] = segment
        return rows


def write_large_tiff(
    path: Path, bands: Iterator[AnyArray], *, like: LargeTiff, width_px: int, height_px: int, note: str | None
) -> None:
    """Write a tiled TIFF, compressed without loss, from rows that come one after another; BigTIFF where needed.

    Args:
        path: Where to; not atomic, so give a temporary name.
        bands: (some rows, width_px, C) with C = 1 for grey and else 3, from top to bottom.
        like: The picture that it was made from: type, colour profile and what goes with it are taken over.
        width_px: Width of the result.
        height_px: Height of the result.
        note: Any text to keep in the file's XMP.

    Raises:
        OSError: The file cannot be written.
    """
    channels = 1 if like.grey else 3
    big = width_px * height_px * channels * like.dtype.itemsize > _MAX_CLASSIC_BYTES
    exif = set_size(like.exif, width_px, height_px) if like.exif else None
    attached = like.attached.resized(width_px / like.width_px, height_px / like.height_px)
    folders = make_folders(exif)
    options = tags_beside(Beside(exif, attached, note), folders, big=big)
    with tifffile.TiffWriter(path, bigtiff=big, byteorder="<") as file:
        file.write(
            _tiles(bands, width_px),
            shape=(height_px, width_px) if like.grey else (height_px, width_px, channels),
            dtype=like.dtype,
            tile=(TILE_PX, TILE_PX),
            photometric="minisblack" if like.grey else "rgb",
            compression="adobe_deflate",
            predictor=True,
            iccprofile=like.icc,
            buffersize=WRITE_BUFFER_BYTES,
            **(options | {"maxworkers": min(4, os.cpu_count() or 1)}),
        )
    append_folders(path, folders)


def frames_of_tiff(path: Path) -> int:
    """How many pages a TIFF has, however many pixels those are.

    Raises:
        ImageError: Not a TIFF, damaged, or of samples without a fixed range.
    """
    with faults(path):
        return len(list_pages(path))


def has_all_pixels(path: Path) -> bool:
    """Tell whether everything that the pages of a TIFF point at lies within the file."""
    try:
        read_folders(path, strict=True)
        with tifffile.TiffFile(path) as file:
            pages = [require_page(page) for page in file.pages]
            return bool(pages) and all(has_all_segments(page, file.filehandle.size) for page in pages)
    except Exception:  # each damage trips tifffile in its own way
        return False


def _read_facts(file: tifffile.TiffFile, page: tifffile.TiffPage, path: Path) -> LargeTiff:
    """Read the tags; kinds that cannot be read by rows are refused by name."""
    dtype = page.dtype
    orientation = page.tags.valueof(_ORIENTATION) or 1
    icc = page.tags.valueof(_ICC)
    reasons = {
        "several pages": len(list_pages(path)) > 1,
        "samples other than 8 or 16 bits": dtype is None
        or dtype.name not in {"uint8", "uint16"}
        or page.bitspersample != 8 * dtype.itemsize,
        "transparency": bool(page.extrasamples),
        "separate colour planes": page.samplesperpixel > 1 and page.planarconfig != _CONTIGUOUS,
        "a kind of colour other than grey and RGB": page.photometric not in {_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB}
        and not (page.photometric == _YCBCR and page.compression == _JPEG),
        "rows that are to be turned": orientation != 1,
        "a colour profile of linear light": isinstance(icc, bytes) and is_linear(icc),
    }
    found = [reason for reason, present in reasons.items() if present]
    if found:
        raise ImageError(
            f"cannot read {path} by rows: it has {found[0]}", "free more memory, or make it plain RGB or grey first"
        )
    assert dtype is not None
    require_all_segments(page, file.filehandle.size, path)
    height_px = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    segment_bytes = 0
    if not page.is_contiguous:
        segment_bytes = height_px * page.imagewidth * page.samplesperpixel * dtype.itemsize
    folder = read_folders(path)[0]
    return LargeTiff(
        width_px=int(page.imagewidth),
        height_px=int(page.imagelength),
        dtype=np.dtype(dtype.name),
        grey=page.samplesperpixel == 1,
        icc=icc if isinstance(icc, bytes) and icc else None,
        exif=exif_of(folder),
        attached=attachments_of(folder),
        segment_bytes=segment_bytes,
    )


def _tiles(bands: Iterator[AnyArray], width_px: int) -> Iterator[AnyArray]:
    """Cut rows into tiles, row of tiles by row of tiles; those at the right and bottom are smaller."""
    held: list[AnyArray] = []
    count = 0
    for band in bands:
        held.append(band)
        count += len(band)
        while count >= TILE_PX:
            rows = np.concatenate(held)
            yield from _cut_tiles(rows[:TILE_PX], width_px)
            held, count = [rows[TILE_PX:].copy()], count - TILE_PX
            del rows
    if count:
        yield from _cut_tiles(np.concatenate(held), width_px)


def _cut_tiles(rows: AnyArray, width_px: int) -> Iterator[AnyArray]:
    flat = rows[..., 0] if rows.shape[2] == 1 else rows
    yield from (flat[:, left : left + TILE_PX] for left in range(0, width_px, TILE_PX))
