"""Check of data that are packed by zlib, in little memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

_UNPACKED_BYTES: Final = 1 << 20
_PACKED_BYTES: Final = 1 << 16


def measure_unpacked(pieces: Iterable[bytes]) -> tuple[int, bool]:
    """Unpack, and compare the checksum.

    Args:
        pieces: The packed data.

    Returns:
        How many bytes they unpack to, and whether their end, where the checksum stands, was there.

    Raises:
        zlib.error: They are damaged.
    """
    decompressor = zlib.decompressobj()
    found = 0
    for piece in pieces:
        # In small pieces: what is left of one is copied at every step of unpacking it.
        for start in range(0, len(piece), _PACKED_BYTES):
            data = piece[start : start + _PACKED_BYTES]
            while data and not decompressor.eof:
                found += len(decompressor.decompress(data, _UNPACKED_BYTES))
                data = decompressor.unconsumed_tail
    return found, decompressor.eof
