"""Chunks of PNG files: their list, their checksums, and a view of a file without those that Pillow limits.

Pillow refuses a file whose texts or colour profile are large, which is valid. Texts and profiles are read here, and
Pillow is given the file without them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import SEEK_CUR, SEEK_END, SEEK_SET, BufferedReader, RawIOBase
from typing import Any, BinaryIO, Final

from adaptsr_cli.io.deflate import measure_unpacked

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_UNPACKED_BYTES: Final = 1 << 28
"""What a compressed text or profile may unpack to; more is taken for an attack."""

TEXT_KINDS: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_HIDDEN_KINDS: Final = TEXT_KINDS | {b"iCCP"}
_END: Final = b"IEND"
_PIECE_BYTES: Final = 1 << 20


class PngFault(ValueError):
    """A PNG that is cut off or of which a checksum differs."""


@dataclass(frozen=True)
class Chunk:
    """A chunk of a file.

    Attributes:
        kind: Its four letters.
        offset: Where its content begins.
        length: Bytes of its content.
    """

    kind: bytes
    offset: int
    length: int


def is_png(file: BinaryIO) -> bool:
    """Whether a file begins as a PNG does; it is then positioned at its beginning."""
    file.seek(0)
    head = file.read(len(PNG_SIGNATURE))
    file.seek(0)
    return head == PNG_SIGNATURE


def list_chunks(file: BinaryIO) -> list[Chunk]:
    """The chunks of a PNG up to its end mark, or up to where the file ends."""
    size = file.seek(0, SEEK_END)
    place = len(PNG_SIGNATURE)
    chunks = []
    while place + 12 <= size:
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        chunks.append(Chunk(kind, place + 8, length))
        if kind == _END:
            break
        place += 12 + length
    return chunks


def verify_chunks(file: BinaryIO) -> None:
    """Compare all checksums, which decoders skip once they have all pixels.

    A file that lost blocks in a power cut would give wrong pixels there, and no error.

    Raises:
        PngFault: The file is cut off, or a checksum differs.
    """
    chunks = list_chunks(file)
    if not chunks or chunks[-1].kind != _END:
        raise PngFault("its end is missing")
    for chunk in chunks:
        file.seek(chunk.offset - 4)
        left = chunk.length + 4  # the kind counts
        checksum = 0
        while left > 0:
            piece = file.read(min(left, _PIECE_BYTES))
            if not piece:
                raise PngFault("its end is missing")
            checksum = zlib.crc32(piece, checksum)
            left -= len(piece)
        if file.read(4) != struct.pack(">I", checksum):
            raise PngFault(f"the checksum of its {chunk.kind.decode('latin-1')} chunk differs")


def verify_pixels(file: BinaryIO) -> None:
    """Unpack the pixels of the picture, and compare their own checksum, which decoders skip too.

    Raises:
        PngFault: They are fewer than the size says, or damaged.
    """
    chunks = list_chunks(file)
    try:
        found, ended = measure_unpacked(read_chunk(file, chunk) for chunk in chunks if chunk.kind == b"IDAT")
    except zlib.error as error:
        raise PngFault(f"its pixels are damaged: {error}") from error
    if not ended or found < _count_bytes(read_chunk(file, chunks[0])):
        raise PngFault("pixels are missing")


def _count_bytes(head: bytes) -> int:
    """How many bytes the pixels take before they are packed, by the header."""
    width, height, bits, kind, _, _, interlaced = struct.unpack_from(">IIBBBBB", head)
    pixel_bits = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    if not interlaced:
        return int(height * (1 + (width * pixel_bits + 7) // 8))
    total = 0
    for left, top, across, down in _ADAM7:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * pixel_bits + 7) // 8)
    return int(total)


_ADAM7: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def read_chunk(file: BinaryIO, chunk: Chunk) -> bytes:
    """The content of a chunk."""
    file.seek(chunk.offset)
    return file.read(chunk.length)


def read_profile(file: BinaryIO) -> bytes | None:
    """The colour profile of a PNG, however large; None where there is none.

    Raises:
        PngFault: It is damaged.
    """
    for chunk in list_chunks(file):
        if chunk.kind == b"iCCP":
            _, _, packed = read_chunk(file, chunk).partition(b"\0")
            return unpack(packed[1:])
    return None


def unpack(packed: bytes) -> bytes:
    """Unpack a compressed text or profile.

    Raises:
        PngFault: It is damaged, or larger than `MAX_UNPACKED_BYTES`.
    """
    decompressor = zlib.decompressobj()
    try:
        data = decompressor.decompress(packed, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise PngFault(f"a compressed text or profile is damaged: {error}") from error
    if not decompressor.eof:
        larger = bool(decompressor.unconsumed_tail)
        raise PngFault("a text or profile unpacks to too much" if larger else "a text or profile is cut off")
    return data


def pack_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def replace_chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    """Write another content of the same length into the first chunk of a kind."""
    chunk = next(chunk for chunk in list_chunks(file) if chunk.kind == kind)
    assert chunk.length == len(content)
    file.seek(chunk.offset - 8)
    file.write(pack_chunk(kind, content))


def hide_large(file: BinaryIO) -> BinaryIO:
    """The file as Pillow may see it: without texts and colour profile; other files as they are.

    The profile is to be read by `read_profile`.
    """
    if not is_png(file):
        return file
    chunks = list_chunks(file)
    hidden = [chunk for chunk in chunks if chunk.kind in _HIDDEN_KINDS]
    size = file.seek(0, SEEK_END)
    file.seek(0)
    if not hidden:
        return file
    parts, place = [], 0
    for chunk in hidden:
        parts.append((place, chunk.offset - 8))
        place = min(size, chunk.offset + chunk.length + 4)
    parts.append((place, size))
    return BufferedReader(_Parts(file, parts))


class _Parts(RawIOBase):
    """Parts of a file as if they followed each other.

    Args:
        file: The file.
        parts: Begin and end of each.
    """

    def __init__(self, file: BinaryIO, parts: Sequence[tuple[int, int]]) -> None:
        self._file = file
        self._parts = parts
        self._size = sum(stop - start for start, stop in parts)
        self._place = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be positioned."""
        return True

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Set the position."""
        base = {SEEK_SET: 0, SEEK_CUR: self._place, SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read up to the end of the part that the position lies in."""
        view = memoryview(buffer)
        before = 0
        for start, stop in self._parts:
            length = stop - start
            if self._place < before + length:
                self._file.seek(start + self._place - before)
                data = self._file.read(min(len(view), before + length - self._place))
                view[: len(data)] = data
                self._place += len(data)
                return len(data)
            before += length
        return 0
