"""Orientation and size in EXIF data, read and changed in the raw bytes.

EXIF may hold maker's notes that refer to byte offsets within it. Writing it anew would move those bytes, so fields are
patched where they stand.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

EXIF_PREFIX = b"Exif\0\0"
_ORIENTATION = 0x0112
_EXIF_FOLDER = 0x8769
_WIDTHS = (0x0100, 0xA002)  # ImageWidth of the main folder, PixelXDimension of the EXIF folder
_HEIGHTS = (0x0101, 0xA003)
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202
_FORMATS = {3: "H", 4: "I"}  # SHORT and LONG: what the fields of interest are stored as


@dataclass(frozen=True)
class _Field:
    """A number that is stored in the entry itself.

    Attributes:
        tag: Number of the field.
        offset: Where its value begins in the bytes.
        code: Its type for `struct`, byte order included.
        value: The number.
    """

    tag: int
    offset: int
    code: str
    value: int


def read_orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; 1 where there is none or it cannot be read."""
    for field in _fields(exif):
        if field.tag == _ORIENTATION:
            return field.value if 1 <= field.value <= 8 else 1
    return 1


def clear_orientation(exif: bytes) -> bytes:
    """Return the EXIF with its prefix, orientation 1, and without the thumbnail, which is neither turned nor larger."""
    if not exif.startswith(EXIF_PREFIX):
        exif = EXIF_PREFIX + exif
    patched = bytearray(exif)
    for field in _fields(exif):
        if field.tag == _ORIENTATION:
            struct.pack_into(field.code, patched, field.offset, 1)
    kept = _detach_thumbnail(patched)
    return bytes(patched[:kept])


def drop_orientation(exif: bytes) -> bytes:
    """Return the EXIF without an orientation; all else stays where it is."""
    patched = bytearray(exif)
    try:
        _, order, folder = _find_folder(exif)
        count = struct.unpack_from(f"{order}H", exif, folder)[0]
        for index in range(count):
            place, end = folder + 2 + 12 * index, folder + 2 + 12 * count
            if struct.unpack_from(f"{order}H", exif, place)[0] == _ORIENTATION:
                following = exif[place + 12 : end + 4]  # the later entries, and where the next folder stands
                patched[place : place + len(following)] = following
                struct.pack_into(f"{order}H", patched, folder, count - 1)
                break
    except struct.error:
        return exif
    return bytes(patched)


def set_size(exif: bytes, width_px: int, height_px: int) -> bytes:
    """Return the EXIF with a new picture size, where it has fields for one that hold the number."""
    patched = bytearray(exif)
    for field in _fields(exif):
        size_px = width_px if field.tag in _WIDTHS else height_px if field.tag in _HEIGHTS else None
        if size_px is not None and size_px < 1 << 8 * struct.calcsize(field.code):
            struct.pack_into(field.code, patched, field.offset, size_px)
    return bytes(patched)


def _fields(exif: bytes) -> Iterator[_Field]:
    """Yield the single whole numbers of the main folder and of the EXIF folder below it."""
    try:
        start, order, folder = _find_folder(exif)
        below = None
        for field in _folder_fields(exif, order, folder):
            if field.tag == _EXIF_FOLDER:
                below = start + field.value
            yield field
        if below is not None:
            yield from _folder_fields(exif, order, below)
    except struct.error:  # cut off; the picture is no worse for it
        return


def _folder_fields(exif: bytes, order: str, folder: int) -> Iterator[_Field]:
    for entry in range(struct.unpack_from(f"{order}H", exif, folder)[0]):
        offset = folder + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(f"{order}HHI", exif, offset)
        if count == 1 and kind in _FORMATS:
            code = order + _FORMATS[kind]
            yield _Field(tag, offset + 8, code, struct.unpack_from(code, exif, offset + 8)[0])


def _find_folder(exif: bytes) -> tuple[int, str, int]:
    """Return the origin of offsets, the byte order for `struct`, and the offset of the main folder."""
    start = len(EXIF_PREFIX) if exif.startswith(EXIF_PREFIX) else 0
    order = {b"II": "<", b"MM": ">"}.get(exif[start : start + 2])
    if order is None:
        raise struct.error("no byte order")
    return start, order, start + struct.unpack_from(f"{order}I", exif, start + 4)[0]


def _detach_thumbnail(exif: bytearray) -> int:
    """End the chain of folders after the first; the second one is that of the thumbnail.

    Returns:
        How many bytes are still needed: a thumbnail at the end, as usual, is none of them.
    """
    whole = len(exif)
    try:
        start, order, folder = _find_folder(bytes(exif))
        entries = struct.unpack_from(f"{order}H", exif, folder)[0]
        chain = folder + 2 + 12 * entries
        thumbnail = start + struct.unpack_from(f"{order}I", exif, chain)[0]
        struct.pack_into(f"{order}I", exif, chain, 0)
        found = {
            tag: struct.unpack_from(f"{order}I", exif, thumbnail + 2 + 12 * entry + 8)[0]
            for entry in range(struct.unpack_from(f"{order}H", exif, thumbnail)[0])
            for tag in struct.unpack_from(f"{order}H", exif, thumbnail + 2 + 12 * entry)
        }
        pixels, length = start + found[_THUMBNAIL], found[_THUMBNAIL_BYTES]
    except (struct.error, KeyError):
        return whole
    # Only if it is the very last: what else stands behind the pixels, such as a preview, belongs to somebody.
    return pixels if start < pixels and whole - 2 <= pixels + length <= whole else whole
