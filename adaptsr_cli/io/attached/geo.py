"""Georeference of a TIFF: the tags of GeoTIFF and GDAL, brought to another size of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

GeoTag = tuple[int, int, int, Any]
"""Tag, TIFF type, count, and value: a tuple of numbers, or text."""

_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION = 33550, 33922, 34264
_KEYS: Final = 34735
_RPC: Final = 50844
GEO_TAGS: Final = (_PIXEL_SCALE, _TIE_POINTS, _TRANSFORMATION, _KEYS, 34736, 34737, _RPC, 42112, 42113)
"""Pixel scale, tie points, transformation, keys with their numbers and texts, RPC, GDAL's metadata and no-data."""

_RASTER_TYPE_KEY, _PIXEL_IS_POINT = 1025, 2
_RPC_NUMBERS: Final = 92
_RPC_OFFSETS, _RPC_SCALES = (2, 3), (7, 8)  # line and sample


def resize_geo(tags: Sequence[GeoTag], across: float, down: float) -> tuple[GeoTag, ...]:
    """The tags of a picture of another size that covers the same ground.

    Args:
        tags: As read.
        across: New width over old width.
        down: New height over old height.
    """
    point = _is_point(tags)
    return tuple((tag, kind, count, _resize(tag, value, across, down, point)) for tag, kind, count, value in tags)


def _resize(tag: int, value: Any, across: float, down: float, point: bool) -> Any:
    if tag == _PIXEL_SCALE and len(value) >= 2:
        return (value[0] / across, value[1] / down, *value[2:])
    if tag == _TIE_POINTS:
        moved = list(value)
        for start in range(0, len(moved) - 5, 6):  # column, row, height in the raster, and where that is in the world
            moved[start] = _move(moved[start], across, point)
            moved[start + 1] = _move(moved[start + 1], down, point)
        return tuple(moved)
    if tag == _TRANSFORMATION and len(value) == 16:
        matrix = list(value)
        for row in range(0, 12, 4):
            if point:
                matrix[row + 3] += matrix[row] * (0.5 / across - 0.5) + matrix[row + 1] * (0.5 / down - 0.5)
            matrix[row] /= across
            matrix[row + 1] /= down
        return tuple(matrix)
    if tag == _RPC and len(value) == _RPC_NUMBERS:
        numbers = list(value)
        for offset, scale, factor in zip(_RPC_OFFSETS, _RPC_SCALES, (down, across), strict=True):
            numbers[offset] = _move(numbers[offset], factor, True)  # counts from the middle of the first pixel
            numbers[scale] *= factor
        return tuple(numbers)
    return value


def _move(place: float, factor: float, point: bool) -> float:
    """Where a place of the raster lies in the larger one; whole numbers are corners, or middles of pixels."""
    return (place + 0.5) * factor - 0.5 if point else place * factor


def _is_point(tags: Sequence[GeoTag]) -> bool:
    """Whether whole numbers mean the middles of pixels."""
    keys = next((value for tag, _, _, value in tags if tag == _KEYS), ())
    entries = [keys[start : start + 4] for start in range(4, len(keys) - 3, 4)]
    return any(entry[0] == _RASTER_TYPE_KEY and entry[3] == _PIXEL_IS_POINT for entry in entries)
