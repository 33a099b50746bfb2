"""Readers of image files that share no code with the writers of the package.

PNG is read by the few lines below, all others by imagecodecs, which writes only PNG for us: TIFF by libtiff, where
tifffile writes it; JPEG, WebP, AVIF and BMP not by Pillow, which writes them.
"""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import pylibjxl

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Colour type of PNG -> channels; palettes are not written by us."""


def read_samples(path: Path) -> np.ndarray:
    """The channels of an image file as they are stored, (H, W, C) uint8 or uint16."""
    data = path.read_bytes()
    suffix = path.suffix.lower()
    if suffix == ".png":
        return read_png(data)
    decode = {
        ".jpg": imagecodecs.jpeg8_decode,
        ".webp": imagecodecs.webp_decode,
        ".avif": imagecodecs.avif_decode,
        ".tif": imagecodecs.tiff_decode,
        ".bmp": imagecodecs.bmp_decode,
        ".heic": read_heic,
        ".jxl": read_jxl,
    }[suffix]
    samples = np.asarray(decode(data))
    if samples.dtype == np.uint16 and suffix in {".avif", ".heic"}:  # of which 10 bits are used
        samples = np.rint(samples / 1023 * 65535).astype(np.uint16)
    return samples if samples.ndim == 3 else samples[..., None]


def read_heic(data: bytes) -> np.ndarray:
    """HEIC by the one library that there is for it, which writes it for us too."""
    return np.asarray(pillow_heif.open_heif(BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False))


def read_jxl(data: bytes) -> np.ndarray:
    """JPEG XL of 8 bits by pylibjxl, where imagecodecs writes it; that of 16 bits only imagecodecs reads."""
    if pylibjxl.probe(data)["bits_per_sample"] > 8:
        return np.asarray(imagecodecs.jpegxl_decode(data))
    return np.asarray(pylibjxl.decode(data))


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of every chunk of a PNG, its checksums compared."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, []
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        content = data[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", data, place + 8 + length)[0] == zlib.crc32(kind + content)
        chunks.append((kind, content))
        place += 12 + length
    assert chunks[0][0] == b"IHDR"
    assert chunks[-1] == (b"IEND", b"")
    return chunks


def read_png(data: bytes) -> np.ndarray:
    """Decodes a PNG of 8 or 16 bits a channel that is neither interlaced nor of a palette."""
    chunks = png_chunks(data)
    width, height, bits, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    assert bits in {8, 16}
    assert not interlaced
    channels = CHANNELS[colour_type]
    packed = zlib.decompress(b"".join(content for kind, content in chunks if kind == b"IDAT"))
    rows = np.frombuffer(packed, np.uint8).reshape(height, 1 + width * channels * bits // 8)
    plain = _unfilter(rows[:, 0], rows[:, 1:].reshape(height, width, channels * bits // 8))
    return plain if bits == 8 else plain.reshape(height, -1).view(">u2").astype(np.uint16).reshape(height, width, -1)


def _unfilter(kinds: np.ndarray, filtered: np.ndarray) -> np.ndarray:
    """Undoes the filters of the rows, all pixels of a diagonal at once: each depends on left, upper left and above."""
    height, width, size = filtered.shape
    plain = np.zeros((height + 1, width + 1, size), np.int16)
    for diagonal in range(height + width - 1):
        row = np.arange(max(0, diagonal - width + 1), min(height - 1, diagonal) + 1)
        column = diagonal - row
        left, above, corner = plain[row + 1, column], plain[row, column + 1], plain[row, column]
        estimate = left + above - corner
        distances = np.abs(estimate - left), np.abs(estimate - above), np.abs(estimate - corner)
        paeth = np.where(
            (distances[0] <= distances[1]) & (distances[0] <= distances[2]),
            left,
            np.where(distances[1] <= distances[2], above, corner),
        )
        predicted = np.choose(kinds[row, None], [np.zeros_like(left), left, above, (left + above) // 2, paeth])
        plain[row + 1, column + 1] = (filtered[row, column] + predicted) % 256
    return np.ascontiguousarray(plain[1:, 1:].astype(np.uint8))


def png_16_bit(samples: np.ndarray, colour_type: int, extra: bytes = b"") -> bytes:
    """A 16-bit PNG, written without any library, of samples (H, W, C).

    Args:
        samples: uint16.
        colour_type: As PNG counts them.
        extra: Chunks to put between head and pixels.
    """
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
