"""The checksums of PNG, which decoders leave unchecked where the pixels lie."""

from __future__ import annotations

import struct
import zlib

_SIGNATURE_BYTES = 8
_FRAME_BYTES = 12  # length, kind and checksum of a chunk


def check_png(data: bytes) -> None:
    """Looks whether a PNG file is whole and unchanged up to its end mark.

    Pillow stops where it has all pixels: a file that lost blocks in a power cut gives wrong pixels there, and no error.
    Chunks that a reader may leave out are not looked at, but for the frames of animations; nor is what follows the
    end mark, where some programs keep data of their own.

    Args:
        data: The whole file, its signature looked at already.

    Raises:
        ValueError: It is cut off, or a checksum does not agree.
    """
    where, kind = _SIGNATURE_BYTES, b""
    while kind != b"IEND":
        if where + _FRAME_BYTES > len(data):
            raise ValueError("it is cut off")
        length, kind = struct.unpack_from(">I4s", data, where)
        end = where + _FRAME_BYTES + length
        if end > len(data):
            raise ValueError("it is cut off")
        needed = kind[:1].isupper() or kind in {b"fcTL", b"fdAT"}
        if needed and zlib.crc32(memoryview(data)[where + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError(f"the checksum of its {kind.decode('latin-1')} chunk does not agree")
        where = end
