"""Signatures by which the content of a file is told from its first bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

HEAD_BYTES: Final = 512
"""What is read of a file to recognise it."""

_BMP_HEADS: Final = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes of the header that follows the file's own

_OTHERS: Final = (
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?R", "Radiance HDR"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xffO\xffQ", "JPEG 2000"),
    (b"qoif", "QOI"),
    (b"DDS ", "a DDS texture"),
    (b"\0\0\x01\0", "an icon (ICO)"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (b"gimp xcf", "a GIMP document (XCF)"),
    (b"%!PS", "PostScript"),
    (b"\xd0\xcf\x11\xe0", "an Office document"),
)
_TEXTS: Final = (
    (b"<svg", "a drawing (SVG)"),
    (b"<html", "a web page (HTML)"),
    (b"<!doctype html", "a web page (HTML)"),
)


def begins(*signatures: bytes) -> Callable[[bytes, Path], bool]:
    """A test whether a file begins with one of some bytes."""
    return lambda head, _: head.startswith(signatures)


def is_mpo(head: bytes, path: Path) -> bool:
    """Whether a file is a JPEG that says by its name that it has several pictures."""
    return head.startswith(b"\xff\xd8\xff") and path.suffix.lower() == ".mpo"


def is_webp(head: bytes, _: Path) -> bool:
    """Whether a file is WebP."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def is_bmp(head: bytes, _: Path) -> bool:
    """Whether a file is BMP; its two letters alone also begin a text about BMWs."""
    return head[:2] == b"BM" and len(head) >= 18 and struct.unpack_from("<I", head, 14)[0] in _BMP_HEADS


def read_brands(head: bytes) -> tuple[bytes, ...]:
    """The brands that an ISO media file (HEIF, AVIF, CR3, MP4) says it follows, the major one first."""
    if len(head) < 16 or head[4:8] != b"ftyp":
        return ()
    stop = min(len(head), struct.unpack_from(">I", head)[0])
    return (head[8:12], *(head[place : place + 4] for place in range(16, stop - 3, 4)))


def has_brand(*brands: bytes) -> Callable[[bytes, Path], bool]:
    """A test whether an ISO media file follows one of some brands."""
    return lambda head, _: any(brand in brands for brand in read_brands(head))


def name_other_kind(head: bytes) -> str:
    """What a file is that is no image of a known format; empty if that is not known either."""
    if read_brands(head):
        return "a video or another ISO media file"
    for signature, name in _OTHERS:
        if head.startswith(signature):
            return name
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<?xml", b"<!--")):
        return next((name for mark, name in _TEXTS if mark in text), "XML")
    return next((name for mark, name in _TEXTS if text.startswith(mark)), "")
