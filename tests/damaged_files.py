"""Image files with damage of each kind, made here."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 80, 64


def pixels() -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8 of slopes under noise, so that no decoder gets along with few bytes."""
    noise = np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH, 1))
    down, across = np.mgrid[:HEIGHT, :WIDTH]
    slopes = np.dstack([2 * across, 3 * down, across + down])
    return (noise + slopes).astype(np.uint8)


def encoded(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels()).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*parts: bytes, width: int = WIDTH, height: int = HEIGHT, bits: int = 8, colour: int = 2) -> bytes:
    """A PNG with whatever chunks behind its header."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(parts) + chunk(b"IEND", b"")


def png_rows() -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels())


def cut_jpeg(data: bytes) -> bytes:
    return data[: len(data) * 55 // 100] + b"\xff\xd9"


def hole(data: bytes) -> bytes:
    half = len(data) // 2
    return data[:half] + bytes(800) + data[half + 800 :]


def bad_checksum() -> bytes:
    packed = bytearray(zlib.compress(png_rows()))
    packed[-1] ^= 0xFF
    return png(chunk(b"IDAT", bytes(packed)))


DAMAGED: dict[str, Callable[[], tuple[str, bytes]]] = {
    "jpeg-cut-with-an-end-mark": lambda: (".jpg", cut_jpeg(encoded("JPEG", quality=95))),
    "jpeg-cut": lambda: (".jpg", encoded("JPEG", quality=95)[:-900]),
    "jpeg-without-its-end-mark": lambda: (".jpg", encoded("JPEG", quality=95)[:-2]),
    "jpeg-hole": lambda: (".jpg", hole(encoded("JPEG", quality=95))),
    "jpeg-progressive-cut": lambda: (".jpg", cut_jpeg(encoded("JPEG", quality=95, progressive=True))),
    "jpeg-grey-hole": lambda: (".jpg", hole(_grey_jpeg())),
    "png-checksum": lambda: (".png", encoded("PNG")[:-30] + b"\0" + encoded("PNG")[-29:]),
    "png-few-rows": lambda: (".png", png(chunk(b"IDAT", zlib.compress(png_rows()[: len(png_rows()) // 2])))),
    "png-pixels-cut": lambda: (".png", png(chunk(b"IDAT", zlib.compress(png_rows())[:-3]))),
    "png-pixels-checksum": lambda: (".png", bad_checksum()),
    "png-without-pixels": lambda: (".png", png()),
    "png-without-its-end": lambda: (".png", encoded("PNG")[:-12]),
    "png-profile": lambda: (".png", png(chunk(b"iCCP", b"x\0\0no zlib"), chunk(b"IDAT", zlib.compress(png_rows())))),
    "tiff-jpeg-hole": lambda: (".tif", hole(encoded("TIFF", compression="jpeg"))),
    "tiff-deflate-hole": lambda: (".tif", hole(encoded("TIFF", compression="tiff_adobe_deflate"))),
    "tiff-cut": lambda: (".tif", encoded("TIFF")[:-900]),
    "webp-cut": lambda: (".webp", encoded("WEBP", quality=95)[:-300]),
    "webp-lossless-cut": lambda: (".webp", encoded("WEBP", lossless=True)[:-300]),
    "avif-cut": lambda: (".avif", encoded("AVIF")[:-300]),
    "bmp-cut": lambda: (".bmp", encoded("BMP")[:-300]),
}
"""Kind of damage -> suffix and bytes of a file."""

DECODABLE = frozenset(DAMAGED) - {"png-without-pixels", "webp-cut", "webp-lossless-cut", "avif-cut"}
"""Of which something can be decoded."""


def _grey_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels()[..., 0]).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
