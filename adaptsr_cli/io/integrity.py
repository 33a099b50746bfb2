"""Detection of image files that were cut off, without decoding them.

Writing is atomic, so a file is never left half written by this program; a full disk or a broken copy may cut it off
later, and it would then count as done when the same call is repeated. Pillow's `verify` tells that of PNG alone.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Final

from adaptsr_cli.io.large_tiff import has_all_pixels
from adaptsr_cli.io.tiff import is_tiff

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_END: Final = b"\0\0\0\0IEND\xaeB\x60\x82"
_JPEG_END: Final = b"\xff\xd9"
_LARGE_BOX = 1  # the size that stands for: look behind the name


def is_whole(path: Path) -> bool:
    """Tell whether an image file ends where its format says; False also for a file that is not an image.

    Changed bytes in the middle are not found.

    Args:
        path: A file as this program writes them.
    """
    try:
        if is_tiff(path):
            return has_all_pixels(path)
        size_bytes = path.stat().st_size
        with path.open("rb") as handle:
            start = handle.read(16)
            if start.startswith(_PNG):
                return _tail(handle, size_bytes, len(_PNG_END)) == _PNG_END
            if start.startswith(b"\xff\xd8"):
                return _tail(handle, size_bytes, len(_JPEG_END)) == _JPEG_END
            if start.startswith(b"RIFF"):
                return int(struct.unpack_from("<I", start, 4)[0]) + 8 == size_bytes
            if start.startswith(b"BM"):
                return int(struct.unpack_from("<I", start, 2)[0]) == size_bytes
            if start[4:8] in {b"ftyp", b"JXL "}:
                return _boxes_fill_file(handle, size_bytes)
    except (OSError, struct.error):
        return False
    return False


def _tail(handle: BinaryIO, size_bytes: int, count: int) -> bytes:
    handle.seek(max(0, size_bytes - count))
    return handle.read()


def _boxes_fill_file(handle: BinaryIO, size_bytes: int) -> bool:
    """Whether the boxes of an ISO media file (AVIF, HEIC, JPEG XL) follow each other up to its end."""
    position = 0
    while position < size_bytes:
        handle.seek(position)
        head = handle.read(16)
        length = int(struct.unpack_from(">I", head)[0])
        if length == _LARGE_BOX:
            length = int(struct.unpack_from(">Q", head, 8)[0])
        if length < 8:  # 0 would mean "up to the end", which is not how our files are written
            return False
        position += length
    return position == size_bytes
