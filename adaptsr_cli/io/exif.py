"""The one EXIF field that matters to the pixels, read and cleared in the raw bytes."""

from __future__ import annotations

import struct

_EXIF_PREFIX = b"Exif\0\0"
_ORIENTATION = 0x0112
_SHORT = 3


def read_orientation(exif: bytes) -> int:
    """How the stored pixels must be turned for display, 1 (not at all) to 8; 1 where nothing legible is said."""
    place = _find_orientation(exif)
    return place[2] if place and 1 <= place[2] <= 8 else 1


def clear_orientation(exif: bytes) -> bytes:
    """The EXIF with its prefix and orientation 1.

    Patched in place: writing EXIF anew would lose the maker's notes, which point at places in the file.
    """
    if not exif.startswith(_EXIF_PREFIX):
        exif = _EXIF_PREFIX + exif
    place = _find_orientation(exif)
    if place is None:
        return exif
    patched = bytearray(exif)
    struct.pack_into(f"{place[1]}H", patched, place[0], 1)
    return bytes(patched)


def _find_orientation(exif: bytes) -> tuple[int, str, int] | None:
    """Where the orientation stands: (offset, byte order for `struct`, value)."""
    start = len(_EXIF_PREFIX) if exif.startswith(_EXIF_PREFIX) else 0
    order = {b"II": "<", b"MM": ">"}.get(exif[start : start + 2])
    if order is None:
        return None
    try:
        folder = start + struct.unpack_from(f"{order}I", exif, start + 4)[0]
        for entry in range(struct.unpack_from(f"{order}H", exif, folder)[0]):
            offset = folder + 2 + 12 * entry
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, offset)
            if tag == _ORIENTATION and kind == _SHORT:  # short enough to stand in the entry itself
                return offset + 8, order, int(value)
    except struct.error:  # cut off; the picture is no worse for it
        return None
    return None
