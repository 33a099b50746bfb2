"""Damage in image files that decoders pass over in silence; the only door to simplejpeg."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Final

import simplejpeg

from adaptsr_cli.io.attached.jpeg_segments import drop_filling
from adaptsr_cli.io.deflate import measure_unpacked
from adaptsr_cli.io.png_chunks import PngFault, is_png, read_profile, verify_chunks, verify_pixels
from adaptsr_cli.io.tiff import is_tiff, packed_segments

# What libjpeg-turbo says of damaged data; whatever else it says is of kinds of JPEG that simplejpeg does not read.
_BEFORE_THE_END: Final = "extraneous bytes before marker 0xd9"
_JPEG_DAMAGE: Final = ("Corrupt JPEG data", "Premature end", "Inconsistent progression", "Invalid SOS parameters")


def find_damage(path: Path) -> str | None:
    """Look for damage that a decoder would pass over: filled with grey, or with what was left in memory.

    Args:
        path: An image file.

    Returns:
        What is wrong; None where nothing was found. What stops a decoder is found by decoding.

    Raises:
        OSError: The file cannot be read.
    """
    if is_tiff(path):
        checks = {"JPEG": _jpeg_fault, "deflate": _deflate_fault}
        faults = (checks[packing](data) for packing, data in packed_segments(path))
        return next((fault for fault in faults if fault), None)
    with path.open("rb") as file:
        if is_png(file):
            try:
                verify_chunks(file)
                verify_pixels(file)
                read_profile(file)
            except PngFault as error:
                return str(error)
            return None
        head = file.read(12)
        if head.startswith(b"\xff\xd8"):
            file.seek(0)
            return _jpeg_fault(file.read())
        if head.startswith(b"RIFF") and len(head) == 12:
            stated = int(struct.unpack_from("<I", head, 4)[0]) + 8
            return "its end is missing" if stated > path.stat().st_size else None
    return None


def _deflate_fault(data: bytes) -> str | None:
    """What zlib says; libtiff stops before the checksum."""
    try:
        _, ended = measure_unpacked([data])
    except zlib.error as error:
        return f"its pixels are damaged: {error}"
    return None if ended else "pixels are missing"


def _jpeg_fault(data: bytes) -> str | None:
    """What libjpeg says of the data of a JPEG; at an eighth of the size, for which it reads all of it."""
    fault = _decode_small(data)
    if fault is not None and fault.endswith(_BEFORE_THE_END):
        # Some cameras fill the file up there, which costs no pixel.
        return _decode_small(drop_filling(data))
    return fault


def _decode_small(data: bytes) -> str | None:
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1)
    except ValueError as error:
        return str(error) if str(error).startswith(_JPEG_DAMAGE) else None
    return None
