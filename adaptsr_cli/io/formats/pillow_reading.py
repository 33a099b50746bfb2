"""Formats that Pillow reads; of more than 8 bits a channel it reads the head only, and imagecodecs the pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from PIL import Image

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.attached.png_texts import read_exif, read_texts, take_xmp
from adaptsr_cli.io.colour import png_colours
from adaptsr_cli.io.colour.convert import UNFIT_INK, convert_image
from adaptsr_cli.io.colour.icc import read_space
from adaptsr_cli.io.exif import clear_orientation, read_orientation
from adaptsr_cli.io.faults import check_pixels
from adaptsr_cli.io.formats.kind import Layout, Outline, name_channels
from adaptsr_cli.io.high_bit_depth import decode_deep_avif, decode_deep_png, read_avif_bits, read_avif_colours
from adaptsr_cli.io.pictures import FIRST_FRAME_ONLY, Animation, Picture, orient, picture_of
from adaptsr_cli.io.png_chunks import PngFault, hide_large, read_profile
from adaptsr_cli.io.tolerance import is_tolerant

_HEAD_BYTES: Final = 32
_IPTC: Final = 0x0404  # among Photoshop's resources
_PNG_IPTC: Final = ("Raw profile type iptc", "Raw profile type 8bim")  # where ImageMagick keeps them
_COLOURS: Final = {
    "1": "grey", "L": "grey", "LA": "grey", "I;16": "grey", "P": "palette", "RGB": "RGB", "RGBA": "RGB", "RGBX": "RGB",
    "YCbCr": "RGB", "CMYK": "CMYK",
}  # fmt: skip
_PNG_COLOURS: Final = {0: "grey", 2: "RGB", 3: "palette", 4: "grey", 6: "RGB"}
_FEW_BITS: Final = {"L;2": 2, "L;4": 4}


@dataclass(frozen=True)
class PillowReader:
    """Reads one of Pillow's formats.

    Attributes:
        name: As Pillow calls it.
        first_only: Of several frames take the first.
    """

    name: str
    first_only: bool = False

    def read_size(self, path: Path) -> tuple[int, int]:
        """The size as displayed."""
        with open_image(path, self.name) as image:
            width_px, height_px = image.size
            turned = read_orientation(image.info.get("exif") or b"") >= 5
        return (height_px, width_px) if turned else (width_px, height_px)

    def read_outline(self, path: Path) -> Outline:
        """Size and kind."""
        width_px, height_px = self.read_size(path)
        with open_image(path, self.name) as image:
            deep = ";16" in find_raw_mode(image) if image.format == "PNG" else False
            if image.format == "AVIF":
                deep = read_avif_bits(path.read_bytes()) > 8
            # An animation may say only in its later frames that it has transparency.
            count = 1 if self.first_only else _count_frames(image)
            return Outline(width_px, height_px, count, deep, count > 1 or image.has_transparency_data)

    def read_layout(self, path: Path) -> Layout:
        """How the picture is held."""
        with open_image(path, self.name) as image:
            return _read_layout(image, path)

    def decode(self, path: Path) -> Picture:
        """The picture with all its frames."""
        return _decode_image(path, self)

    def read_xmp(self, path: Path) -> bytes | None:
        """The XMP packet."""
        if self.name == "PNG":
            with path.open("rb") as file:
                return take_xmp(read_texts(file))[0]
        with open_image(path, self.name) as image:
            xmp = image.info.get("xmp")
        return xmp if isinstance(xmp, bytes) else None


def _read_layout(image: Image.Image, path: Path) -> Layout:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    cicp, colours, details = None, [], []
    texts = ["comment"] if image.info.get("comment") else []
    iptc = _IPTC in image.info.get("photoshop", {})
    bits, colour = 8, _COLOURS.get(image.mode, image.mode)
    count = int(getattr(image, "n_frames", 1))
    if image.format == "PNG":
        bits, kind = head[24], head[25]
        colour = _PNG_COLOURS.get(kind, colour)
        chunks = png_colours.read_chunks(path)
        cicp = png_colours.read_code_points(chunks)
        colours = png_colours.describe(chunks)
        with path.open("rb") as file:
            texts = [text.keyword for text in take_xmp(read_texts(file))[1]]
        iptc = any(keyword in texts for keyword in _PNG_IPTC)
    elif image.format == "AVIF":
        data = path.read_bytes()
        bits, cicp = read_avif_bits(data), read_avif_colours(data)
    elif image.format == "BMP":
        details.append(f"{struct.unpack_from('<H', head, 28)[0]} bits a pixel")
    elif head[12:16] == b"VP8L":
        details.append("lossless")
    details += [word for word in ("progressive", "interlace") if image.info.get(word)]
    return Layout(
        bits=f"{bits} bits",
        channels=name_channels(colour, alpha=image.has_transparency_data),
        pictures=f"{count} {'pictures' if image.format == 'MPO' else 'frames'}" if count > 1 else "",
        icc=image.info.get("icc_profile") or None,
        cicp=cicp,
        exif=image.info.get("exif") or None,
        iptc=iptc,
        texts=tuple(dict.fromkeys(texts)),
        dpi=image.info.get("dpi"),
        colours=tuple(colours),
        details=tuple(details),
    )


@contextmanager
def open_image(path: Path, name: str) -> Iterator[Image.Image]:
    """Open an image file without decoding its pixels; too many of them are refused."""
    with path.open("rb") as file, Image.open(hide_large(file), formats=(name,)) as image:
        check_pixels(image.width * image.height * _count_frames(image), path)
        if image.format == "PNG":
            image.info["icc_profile"] = _png_profile(file)
            image.info["exif"] = read_exif(file)
        yield image


def _png_profile(file: BinaryIO) -> bytes | None:
    """The colour profile that was hidden from Pillow; None also for one that is damaged, if that is tolerated."""
    try:
        return read_profile(file)
    except PngFault:
        if is_tolerant():
            return None
        raise


def _count_frames(image: Image.Image) -> int:
    # What follows the photograph in a camera's MPO is its preview, depth or gain map.
    return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))


def _decode_image(path: Path, reader: PillowReader) -> Picture:
    with open_image(path, reader.name) as image:
        data = path.read_bytes() if image.format in {"PNG", "AVIF"} else b""
        cicp, remarks = None, []
        count = _count_frames(image)
        if reader.first_only and count > 1:
            remarks.append(FIRST_FRAME_ONLY)
            count = 1
        raw_mode = find_raw_mode(image)
        bits = 16 if image.format == "PNG" and ";16" in raw_mode else 8
        if image.format == "AVIF":
            bits = read_avif_bits(data)
        if bits > 8 and count > 1:
            raise ImageError(f"cannot read {path}: an animation of {bits} bits a channel", "make it 8 bits a channel")
        orientation = read_orientation(image.info.get("exif") or b"")
        exif = image.info.get("exif")
        image.load()
        exif = clear_orientation(exif) if isinstance(exif, bytes) and exif else None
        if image.format == "PNG":
            cicp = _settle_png(image, path, raw_mode, remarks)
        elif image.format == "AVIF":
            cicp = read_avif_colours(data)
        if bits > 8:
            layers = (
                decode_deep_avif(data, bits)
                if image.format == "AVIF"
                else decode_deep_png(hide_large(BytesIO(data)).read())
            )
            icc = image.info.get("icc_profile") or None
            layers = orient(layers, orientation)
            grey = layers.shape[2] <= 2
            return picture_of(layers, grey=grey, icc=icc, exif=exif, cicp=cicp, remarks=tuple(remarks))
        if count == 1:
            frame = decode_frame(image, path, orientation, exif, raw_mode)
            return replace(frame, cicp=cicp, remarks=(*frame.remarks, *remarks))
        loops = image.info.get("loop", 0)
        poster = bool(getattr(image, "default_image", False))
        frames, durations_ms = [], []
        for index in range(count):
            image.seek(index)
            image.load()
            frame = decode_frame(image, path, orientation, exif if index == 0 else None, raw_mode)
            frames.append(replace(frame, cicp=cicp, remarks=(*frame.remarks, *remarks)))
            durations_ms.append(float(image.info.get("duration", 0)))
    return join_frames(frames, Animation(tuple(durations_ms), int(loops), poster))


def _settle_png(image: Image.Image, path: Path, raw_mode: str, remarks: list[str]) -> tuple[int, int, int, int] | None:
    """Put right what Pillow knows of a loaded PNG, and return its code points.

    The grey that stands for transparency is counted in the file's own bits, where the samples are stretched to 8; and
    gAMA and cHRM become a profile.
    """
    key = image.info.get("transparency")
    if isinstance(key, int) and raw_mode in _FEW_BITS:
        image.info["transparency"] = key * 255 // ((1 << _FEW_BITS[raw_mode]) - 1)
    chunks = png_colours.read_chunks(path)
    points = png_colours.read_code_points(chunks)
    if points is not None:
        image.info["icc_profile"] = None
    elif not image.info.get("icc_profile"):
        grey = image.mode in {"1", "L", "LA", "I;16"} or raw_mode.startswith(("L", "I"))
        try:
            image.info["icc_profile"] = png_colours.make_profile(chunks, grey=grey)
        except ValueError as error:
            remarks.append(f"what it says of its colours is damaged ({error}): they are taken for sRGB")
    return points


def join_frames(frames: list[Picture], animation: Animation | None) -> Picture:
    """Make one picture of several; frames of an animation become alike in having transparency and colour."""
    first, *further = frames
    if animation is not None:
        grey = all(frame.grey for frame in frames)
        clear = any(frame.alpha is not None for frame in frames)
        first, *further = (_with_channels(frame, grey=grey, clear=clear) for frame in frames)
    return replace(first, further=tuple(further), animation=animation)


def _with_channels(frame: Picture, *, grey: bool, clear: bool) -> Picture:
    alpha = frame.alpha
    if clear and alpha is None:
        alpha = np.full(frame.colour.shape[:2], 255, np.uint8)
    return replace(frame, alpha=alpha, grey=grey)


def decode_frame(image: Image.Image, path: Path, orientation: int, exif: bytes | None, raw_mode: str) -> Picture:
    """Convert the loaded frame that the file is positioned at."""
    icc: bytes | None = image.info.get("icc_profile") or None
    remarks: tuple[str, ...] = ()
    grey = image.mode in {"1", "L", "LA", "La"} or raw_mode.split(";")[0] == "LA"  # and not LAB
    if image.mode in {"I", "F"}:
        raise ImageError(f"cannot read {path}: its samples are numbers without a fixed range", "make it 8- or 16-bit")
    if image.mode in {"CMYK", "LAB"}:
        # One that is damaged is refused; Lab needs none.
        if icc is not None and image.mode == "CMYK" and read_space(icc) not in {"", "CMYK"}:
            remarks, icc = (UNFIT_INK,), None
        layers, icc = np.asarray(convert_image(image, icc)), None
    elif grey:
        layers = np.asarray(image.convert("LA" if image.has_transparency_data else "L"))
        layers = layers if layers.ndim == 3 else layers[..., None]
    else:
        layers = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    return picture_of(orient(layers, orientation), grey=grey, icc=icc, exif=exif, remarks=remarks)


def find_raw_mode(image: Image.Image) -> str:
    """Return the layout of the samples in the file, such as ``RGB;16B``; known only before the pixels are loaded."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""
