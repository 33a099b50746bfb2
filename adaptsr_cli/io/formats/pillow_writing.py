"""Formats that Pillow writes; PNG of more than 8 bits a channel is written by imagecodecs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from adaptsr_cli.io.attached.jpeg_segments import set_jfif_density
from adaptsr_cli.io.exif import drop_orientation
from adaptsr_cli.io.formats.files import open_new
from adaptsr_cli.io.formats.kind import Extras
from adaptsr_cli.io.high_bit_depth import PNG_LEVEL, check_available, write_deep_png
from adaptsr_cli.io.pictures import Animation, Picture, layers_of
from adaptsr_cli.io.png_chunks import replace_chunk


@dataclass(frozen=True)
class PillowWriter:
    """Writes one of Pillow's formats.

    Attributes:
        name: As Pillow calls it.
    """

    name: str

    def check_available(self, *, deep: bool) -> None:
        """Look whether the library for more than 8 bits is installed, where it is needed."""
        if deep:
            check_available()

    def encode(self, path: Path, picture: Picture, extras: Extras) -> None:
        """Write all frames."""
        # Straight into the file: what is encoded of a large picture would fill as much memory again.
        with open_new(path) as file:
            if picture.colour.dtype == np.uint16:
                write_deep_png(file, layers_of(picture), icc=picture.icc, cicp=picture.cicp, beside=extras.beside)
            else:
                _write_8_bit(file, self.name, picture, extras)


def _write_8_bit(file: BinaryIO, name: str, picture: Picture, extras: Extras) -> None:
    quality, beside = extras.quality, extras.beside
    options: dict[str, Any] = {}
    if name == "PNG":
        options = {"compress_level": PNG_LEVEL}
    elif name == "JPEG":
        options = {"quality": quality, "subsampling": "4:4:4"}
    elif name == "WEBP":
        options = {"quality": quality, "lossless": quality >= 100, "exact": True}
    elif name == "AVIF":
        options = {"quality": quality} if picture.grey else {"quality": quality, "subsampling": "4:4:4"}
    if picture.icc:
        options["icc_profile"] = picture.icc
    density, patch = beside.attached.density, None
    if name == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        if picture.cicp:
            options["pnginfo"].add(b"cICP", bytes(picture.cicp))
        for text in beside.png_texts():
            options["pnginfo"].add(text.kind, text.content)
        if beside.exif:
            options["exif"] = beside.exif
        if (patch := beside.png_density()) is not None:
            options["dpi"] = (1, 1)  # holds the place: Pillow knows no pixels without a unit
    elif name == "JPEG":
        # By hand: Pillow takes neither EXIF nor XMP of more than one segment.
        options["extra"] = beside.jpeg_segments()
        patch = beside.jpeg_density()
    elif name == "BMP":
        # Pillow would write 96 where nothing is known.
        options["dpi"] = density.rounded if density is not None and density.absolute else (0, 0)
    else:
        if extras.exif:
            # Of AVIF Pillow writes EXIF anew, with other types, if it has an orientation.
            options["exif"] = drop_orientation(extras.exif) if name == "AVIF" else extras.exif
        if extras.xmp:
            options["xmp"] = extras.xmp
    images = [_to_image(frame) for frame in picture.frames]
    if picture.animation is not None and len(images) > 1:
        options |= {"save_all": True, "append_images": images[1:], **_timing(name, picture.animation)}
    images[0].save(file, name, **options)
    if patch is not None and name == "PNG":
        replace_chunk(file, b"pHYs", patch)
    elif patch is not None:
        set_jfif_density(file, patch)
    if name == "WEBP" and "save_all" in options and picture.alpha is not None:
        _declare_webp_alpha(file)


def _declare_webp_alpha(file: BinaryIO) -> None:
    """Set the flag of an animation that says that it has transparency.

    libwebp leaves it out where the frames themselves are opaque and only cover less than the whole, and readers then
    show black around them.
    """
    file.seek(12)
    head = file.read(9)
    assert head[:4] == b"VP8X"
    file.seek(20)
    file.write(bytes([head[8] | 0x10]))


def _to_image(picture: Picture) -> Image.Image:
    layers = layers_of(picture)
    return Image.fromarray(layers[..., 0] if layers.shape[2] == 1 else layers)


def _timing(name: str, animation: Animation) -> dict[str, Any]:
    durations_ms: list[float] | list[int] = list(animation.durations_ms)
    if name == "PNG":
        poster = animation.poster
        return {
            "duration": durations_ms[1:] if poster else durations_ms,
            "loop": animation.loops,
            "default_image": poster,
        }
    durations_ms = [round(duration) for duration in durations_ms]
    return {"duration": durations_ms, "loop": animation.loops} if name == "WEBP" else {"duration": durations_ms}
