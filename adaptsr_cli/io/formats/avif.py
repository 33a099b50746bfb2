"""AVIF of more than 8 bits a channel, written by OpenCV, which keeps profile, EXIF and XMP at that depth."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.faults import INSTALL_IMAGES
from adaptsr_cli.io.formats.files import open_new
from adaptsr_cli.io.formats.kind import Extras
from adaptsr_cli.io.formats.pillow_writing import PillowWriter
from adaptsr_cli.io.pictures import Picture, layers_of

BITS: Final = 10
_HEADER_BYTES: Final = 1 << 20  # what describes the image stands before its pixels
_SPEED: Final = 6  # as Pillow has it


@dataclass(frozen=True)
class AvifWriter(PillowWriter):
    """Writes AVIF with 8 bits a channel by Pillow, and with 10 by OpenCV."""

    def check_available(self, *, deep: bool) -> None:
        """Look whether OpenCV is installed, where it is needed."""
        if deep:
            _import()

    def encode(self, path: Path, picture: Picture, extras: Extras) -> None:
        """Write all frames, or one picture of 10 bits a channel."""
        if picture.colour.dtype == np.uint16:
            with open_new(path) as file:
                file.write(_encode_deep(picture, extras))
        else:
            super().encode(path, picture, extras)
        if picture.cicp:
            _set_code_points(path, *picture.cicp[:2])


def _encode_deep(picture: Picture, extras: Extras) -> bytes:
    library = _import()
    kinds = {
        library.IMAGE_METADATA_EXIF: extras.exif,
        library.IMAGE_METADATA_XMP: extras.xmp,
        library.IMAGE_METADATA_ICCP: picture.icc,
    }
    wanted = {kind: np.frombuffer(content, np.uint8) for kind, content in kinds.items() if content}
    options = [library.IMWRITE_AVIF_DEPTH, BITS, library.IMWRITE_AVIF_QUALITY, extras.quality]
    options += [library.IMWRITE_AVIF_SPEED, _SPEED]
    done, data = library.imencodeWithMetadata(".avif", _arrange(picture), list(wanted), list(wanted.values()), options)
    if not done:
        raise ValueError("OpenCV cannot encode it")
    return bytes(data)


def _arrange(picture: Picture) -> AnyArray:
    """The channels in OpenCV's order, BGR, with 10 bits; grey with transparency is repeated: (H, W, C) uint16."""
    layers = layers_of(picture)
    most = (1 << BITS) - 1
    layers = ((layers.astype(np.uint32) * most + 32767) // 65535).astype(np.uint16)
    order = {1: [0], 2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[layers.shape[2]]
    return np.ascontiguousarray(layers[..., order])


def _set_code_points(path: Path, primaries: int, transfer: int) -> None:
    """Say what the colours are in the box nclx, where the encoders have put sRGB; the matrix stays what it is."""
    with path.open("r+b") as file:
        place = file.read(_HEADER_BYTES).find(b"colrnclx")
        if place < 0:
            raise ValueError("the encoder has left no room for the kind of colours")
        file.seek(place + 8)
        file.write(struct.pack(">HH", primaries, transfer))


def _import() -> Any:
    try:
        import cv2
    except ImportError as error:
        message = "AVIF of 10 bits a channel is written by OpenCV, which is not installed"
        raise ImageError(message, INSTALL_IMAGES) from error
    return cv2
