"""What a file says of its picture, read from the file itself, whatever decodes its pixels."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from adaptsr_cli.io.attached.exif_density import read_density
from adaptsr_cli.io.attached.jpeg_segments import read_segments
from adaptsr_cli.io.attached.photoshop import split_iptc
from adaptsr_cli.io.attached.png_texts import COMMENT, make_text, read_exif, read_texts, take_profiles, take_xmp
from adaptsr_cli.io.attached.record import NOTHING, Attachments, Density, make_density
from adaptsr_cli.io.attached.xmp import make_true
from adaptsr_cli.io.exif import read_orientation
from adaptsr_cli.io.png_chunks import list_chunks, read_chunk

_INCH_PER_METRE = 0.0254


def read_attachments(path: Path, name: str, *, exif: bytes | None, xmp: bytes | None) -> Attachments:
    """Read what a file of one picture says of it; of TIFF see `tiff_tags`.

    Args:
        path: The file.
        name: Its format.
        exif: Of the picture, as it was read.
        xmp: The packet, as the format's reader finds it.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        if name in {"JPEG", "MPO"}:
            return _of_jpeg(file, exif)
        if name == "PNG":
            return _of_png(file)
        if name == "BMP":
            return Attachments(density=_bmp_density(file))
    packet = make_true(xmp, turned=False) if xmp else None
    return Attachments(xmp=packet, density=_exif_density(exif)) if packet or exif else NOTHING


def _of_jpeg(file: BinaryIO, exif: bytes | None) -> Attachments:
    found = read_segments(file)
    iptc, resources = split_iptc(found.resources)
    turned = read_orientation(found.exif) != 1
    density = None
    if found.density is not None:
        unit, across, down = found.density
        factor = 2.54 if unit == 2 else 1.0
        density = make_density(across * factor, down * factor, absolute=unit != 0)
    comments = (make_text(COMMENT, _decode(comment)) for comment in found.comments)
    return Attachments(
        xmp=make_true(found.xmp, turned=turned) if found.xmp else None,
        xmp_extended=found.extended,
        iptc=iptc,
        resources=resources,
        texts=tuple(comments),
        density=density or _exif_density(exif),
    )


def _of_png(file: BinaryIO) -> Attachments:
    turned = read_orientation(read_exif(file) or b"") != 1
    xmp, texts = take_xmp(read_texts(file))
    profiles, texts = take_profiles(texts)
    block = profiles.get("8bim") or profiles.get("iptc") or b""
    iptc, resources = split_iptc(block) if block.startswith(b"8BIM") else (block or None, None)
    xmp = xmp or profiles.get("xmp")
    return Attachments(
        xmp=make_true(xmp, turned=turned) if xmp else None,
        iptc=iptc,
        resources=resources,
        texts=tuple(texts),
        density=_png_density(file),
    )


def _png_density(file: BinaryIO) -> Density | None:
    for chunk in list_chunks(file):
        if chunk.kind == b"pHYs" and chunk.length == 9:
            across, down, unit = struct.unpack(">IIB", read_chunk(file, chunk))
            factor = _INCH_PER_METRE if unit == 1 else 1.0
            return make_density(across * factor, down * factor, absolute=unit == 1)
    return None


def _bmp_density(file: BinaryIO) -> Density | None:
    head = file.read(46)
    if len(head) < 46 or struct.unpack_from("<I", head, 14)[0] < 40:
        return None
    across, down = struct.unpack_from("<ii", head, 38)
    return make_density(across * _INCH_PER_METRE, down * _INCH_PER_METRE)


def _exif_density(exif: bytes | None) -> Density | None:
    found = read_density(exif) if exif else None
    return make_density(*found) if found else None


def _decode(comment: bytes) -> str:
    try:
        return comment.rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError:
        return comment.decode("latin-1")
