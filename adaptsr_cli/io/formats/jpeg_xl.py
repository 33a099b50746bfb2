"""JPEG XL: pixels by imagecodecs, which knows 16 bits, colour profiles by pylibjxl; the only door to the latter."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.exif import EXIF_PREFIX, clear_orientation
from adaptsr_cli.io.faults import INSTALL_IMAGES, check_pixels
from adaptsr_cli.io.formats.files import open_new
from adaptsr_cli.io.formats.kind import Extras, Layout, Outline, name_channels
from adaptsr_cli.io.high_bit_depth import decode_jpeg_xl, encode_jpeg_xl
from adaptsr_cli.io.pictures import FIRST_FRAME_ONLY, Picture, layers_of, picture_of, quantise

_SIGNATURE: Final = b"\0\0\0\x0cJXL \r\n\x87\n"
_TYPE: Final = b"\0\0\0\x14ftypjxl \0\0\0\0jxl "
_EFFORT: Final = 4


def is_jpeg_xl(head: bytes, _: Path) -> bool:
    """Whether a file is JPEG XL, bare or in its container."""
    return head.startswith((b"\xff\x0a", _SIGNATURE))


class JpegXlReader:
    """Reads JPEG XL."""

    def read_size(self, path: Path) -> tuple[int, int]:
        """The size as displayed: libjxl has turned the image already."""
        facts = _import().probe(path.read_bytes())
        return int(facts["width"]), int(facts["height"])

    def read_outline(self, path: Path) -> Outline:
        """Size and kind."""
        facts = _import().probe(path.read_bytes())
        return Outline(facts["width"], facts["height"], deep=facts["bits_per_sample"] > 8, alpha=facts["has_alpha"])

    def read_layout(self, path: Path) -> Layout:
        """How the picture is held; its profile is compressed with the pixels and is not looked for."""
        facts = _import().probe(path.read_bytes())
        real = ", floating point" if facts["exponent_bits_per_sample"] else ""
        return Layout(
            bits=f"{facts['bits_per_sample']} bits{real}",
            channels=name_channels("grey" if facts["color_channels"] == 1 else "RGB", alpha=facts["has_alpha"]),
            pictures="several frames" if facts["have_animation"] else "",
            exif=self.read_exif(path),
        )

    def decode(self, path: Path) -> Picture:
        """The picture; of an animation the first frame, and said."""
        library, data = _import(), path.read_bytes()
        facts = library.probe(data)
        check_pixels(facts["width"] * facts["height"], path)
        pixels, boxes = library.decode(data, metadata=True)
        layers: AnyArray = pixels
        if facts["bits_per_sample"] > 8:
            layers = decode_jpeg_xl(data)
            if layers.dtype.kind == "f":
                layers = quantise(layers, path)
        if layers.ndim == 2:
            layers = layers[..., None]
        colours = facts["color_channels"]
        layers = layers[..., : colours + 1] if facts["has_alpha"] else layers[..., :colours]
        exif = boxes.get("exif")
        remarks = (FIRST_FRAME_ONLY,) if facts["have_animation"] else ()
        return picture_of(
            np.ascontiguousarray(layers),
            grey=colours == 1,
            icc=boxes.get("icc") or None,
            exif=clear_orientation(_strip_offset(exif)) if exif else None,
            remarks=remarks,
        )

    def read_xmp(self, path: Path) -> bytes | None:
        """The XMP packet."""
        for kind, content in _read_boxes(path.read_bytes()):
            if kind == b"xml ":
                return content
        return None

    def read_exif(self, path: Path) -> bytes | None:
        """EXIF as it is in the file; what is compressed is not looked for."""
        for kind, content in _read_boxes(path.read_bytes()):
            if kind == b"Exif":
                return _strip_offset(content)
        return None


class JpegXlWriter:
    """Writes JPEG XL with 8 or 16 bits a channel; without loss at quality 100."""

    def check_available(self, *, deep: bool) -> None:
        """Look whether pylibjxl is installed."""
        _import()

    def encode(self, path: Path, picture: Picture, extras: Extras) -> None:
        """Write one picture, always in a container, whose end can be checked."""
        layers = layers_of(picture)
        distance = to_distance(extras.quality)
        if picture.icc is not None:
            stream = _import().encode(
                layers, effort=_EFFORT, distance=distance, lossless=distance == 0, icc=picture.icc
            )
        else:
            stream = encode_jpeg_xl(layers, distance, _EFFORT)
        boxes = dict(_read_boxes(stream))
        parts = [_SIGNATURE, _TYPE]
        if b"jxll" in boxes:  # the level, which more than 12 bits need
            parts.append(_box(b"jxll", boxes[b"jxll"]))
        if extras.exif:
            parts.append(_box(b"Exif", bytes(4) + extras.exif.removeprefix(EXIF_PREFIX)))
        if extras.xmp:
            parts.append(_box(b"xml ", extras.xmp))
        parts.append(_box(b"jxlc", boxes.get(b"jxlc", stream)))
        with open_new(path) as file:
            file.writelines(parts)


def to_distance(quality: int) -> float:
    """The distance, libjxl's measure of loss, for a quality of 1 to 100, as libjxl itself relates them."""
    if quality >= 100:
        return 0.0
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def _read_boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of the boxes of a container; none of a bare stream."""
    boxes, place = [], 0
    while data.startswith(_SIGNATURE) and place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        start = 8
        if length == 1:
            length, start = struct.unpack_from(">Q", data, place + 8)[0], 16
        length = length or len(data) - place  # 0: up to the end
        if length < start:
            break
        boxes.append((kind, data[place + start : place + length]))
        place += length
    return boxes


def _box(kind: bytes, content: bytes) -> bytes:
    if len(content) + 8 < 1 << 32:
        return struct.pack(">I4s", len(content) + 8, kind) + content
    return struct.pack(">I4sQ", 1, kind, len(content) + 16) + content


def _strip_offset(exif: bytes) -> bytes:
    """EXIF without the four bytes that a box has before it."""
    return exif if exif[:2] in {b"II", b"MM"} or exif.startswith(EXIF_PREFIX) else exif[4:]


def _import() -> Any:
    try:
        import pylibjxl
    except ImportError as error:
        raise ImageError("JPEG XL is read and written by pylibjxl, which is not installed", INSTALL_IMAGES) from error
    return pylibjxl
