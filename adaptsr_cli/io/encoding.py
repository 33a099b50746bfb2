"""Encoding of pictures to image files, and the limits of each format."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from io import BufferedRandom, FileIO, UnsupportedOperation
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.atomic import replace_atomically
from adaptsr_cli.io.decoding import TIFF_PHOTO_FOLDERS, TIFF_PHOTO_TAGS
from adaptsr_cli.io.exif import set_size
from adaptsr_cli.io.high_bit_depth import PNG_LEVEL, check_available, write_deep_png
from adaptsr_cli.io.pictures import Animation, Picture, layers_of, narrow
from adaptsr_cli.io.tiff import Folder, write_tiff
from adaptsr_cli.io.xmp_note import pack_note


@dataclass(frozen=True)
class Format:
    """What a kind of file can hold.

    Attributes:
        name: As Pillow calls it.
        alpha: Whether it holds transparency.
        deep: Whether it is written with 16 bits a channel.
        several: What it holds more than one of.
        grey_profile: Whether its grey is grey in the file too, so that a profile of grey fits.
        photo_data: Whether it holds EXIF, a colour profile and XMP.
        most_px: The longest side that it can have.
    """

    name: str
    alpha: bool = True
    deep: bool = False
    several: Literal["pages", "frames"] | None = None
    grey_profile: bool = True
    photo_data: bool = True
    most_px: int = (1 << 31) - 1


_PNG = Format("PNG", deep=True, several="frames", most_px=1_000_000)
_JPEG = Format("JPEG", alpha=False, most_px=65_500)
_TIFF = Format("TIFF", deep=True, several="pages")
FORMATS: Final = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Format("WEBP", several="frames", grey_profile=False, most_px=16_383),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": Format("BMP", alpha=False, photo_data=False),
    ".avif": Format("AVIF", several="frames", grey_profile=False, most_px=65_536),
}
"""Suffix -> what it stands for."""


def encode_picture(path: Path, picture: Picture, *, quality: int, note: str | None) -> None:
    """Write a picture in the format of the suffix; see `adaptsr_cli.io.images.write_picture`."""
    kind = find_format(path)
    height_px, width_px = picture.colour.shape[:2]
    check_fit(path, picture, width_px, height_px)
    picture = _drop_unsupported(kind, picture)
    exif = set_size(picture.exif, width_px, height_px) if picture.exif and kind.photo_data else None
    xmp = pack_note(note) if note is not None and kind.photo_data else None
    # Straight into the file: what is encoded of a large picture would fill as much memory again.
    with replace_atomically(path) as temporary:
        try:
            if kind is _TIFF:
                texts, folders = _split_exif(exif)
                write_tiff(temporary, picture.frames, texts=texts, folders=folders, xmp=xmp)
                return
            with _FileWithoutDescriptor(FileIO(temporary, "w+")) as file:
                if picture.colour.dtype == np.uint16:
                    write_deep_png(file, layers_of(picture), icc=picture.icc, exif=exif, xmp=xmp)
                else:
                    _write_8_bit(file, kind, picture, quality, exif, xmp)
        except (OSError, ValueError, OverflowError, RuntimeError, SyntaxError, struct.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault, not the encoder's
            size = f"{width_px} x {height_px} px"
            raise ImageError(f"cannot write {path} ({size}) as {kind.name}: {error}", "write .png") from error


class _FileWithoutDescriptor(BufferedRandom):
    """A file without a descriptor for Pillow, which would write to that itself and not notice a full disk."""

    def fileno(self) -> int:
        """There is none.

        Raises:
            UnsupportedOperation: Always.
        """
        raise UnsupportedOperation("fileno")


def find_format(path: Path) -> Format:
    """Return the format that a suffix stands for.

    Raises:
        ImageError: The suffix is of no format that is written.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ImageError(
            f"cannot write {path}: unknown image format {path.suffix!r}", f"use one of {', '.join(sorted(FORMATS))}"
        )
    return kind


def check_fit(path: Path, picture: Picture, width_px: int, height_px: int) -> None:
    """Refuse a picture of which the format would visibly lose something; see `images.check_writable`."""
    kind = find_format(path)
    if max(width_px, height_px) > kind.most_px:
        raise ImageError(
            f"cannot write {path}: {width_px} x {height_px} px are more than the {kind.most_px:,} px that {kind.name} "
            "holds along a side",
            "write .tif",
        )
    if kind.name == "PNG" and picture.colour.dtype == np.uint16:
        check_available()
    if picture.further:
        several = "pages" if picture.animation is None else "frames"
        if kind.several != several:
            others = ".tif" if several == "pages" else ".png, .webp or .avif"
            raise ImageError(
                f"cannot write {path}: {kind.name} holds no {several}, and the picture has {len(picture.frames)}",
                f"write {others}",
            )
    alpha = picture.alpha
    if not kind.alpha and alpha is not None and np.any(alpha != np.iinfo(alpha.dtype).max):
        raise ImageError(
            f"cannot write {path}: {kind.name} holds no transparency, and the picture has some", "write .png or .webp"
        )


def _drop_unsupported(kind: Format, picture: Picture) -> Picture:
    """Remove from a picture what the format cannot hold and nobody misses."""
    if picture.animation is not None and picture.animation.poster and kind.name != "PNG":
        first, *others = picture.further  # the poster is no frame
        timing = Animation(picture.animation.durations_ms[1:], picture.animation.loops)
        picture = replace(picture, colour=first.colour, alpha=first.alpha, further=tuple(others), animation=timing)
    if not kind.alpha:
        picture = replace(picture, alpha=None)
    # A grey profile in a file of three channels would be wrong, not merely useless.
    if not kind.photo_data or (picture.icc and not kind.grey_profile and picture.icc[16:20] == b"GRAY"):
        picture = replace(picture, icc=None)
    return picture if kind.deep else narrow(picture)


def _write_8_bit(
    file: BinaryIO, kind: Format, picture: Picture, quality: int, exif: bytes | None, xmp: bytes | None
) -> None:
    options: dict[str, Any] = {}
    if kind.name == "PNG":
        options = {"compress_level": PNG_LEVEL}
    elif kind.name == "JPEG":
        options = {"quality": quality, "subsampling": "4:4:4"}
    elif kind.name == "WEBP":
        options = {"quality": quality, "lossless": quality >= 100, "exact": True}
    elif kind.name == "AVIF":
        options = {"quality": quality} if picture.grey else {"quality": quality, "subsampling": "4:4:4"}
    if picture.icc:
        options["icc_profile"] = picture.icc
    if exif:
        options["exif"] = exif
    if xmp and kind.name == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    elif xmp:
        options["xmp"] = xmp
    images = [_to_image(frame) for frame in picture.frames]
    if picture.animation is not None and len(images) > 1:
        options |= {"save_all": True, "append_images": images[1:], **_timing(kind, picture.animation)}
    images[0].save(file, kind.name, **options)
    if kind.name == "WEBP" and "save_all" in options and picture.alpha is not None:
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


def _timing(kind: Format, animation: Animation) -> dict[str, Any]:
    durations_ms: list[float] | list[int] = list(animation.durations_ms)
    if kind.name == "PNG":
        poster = animation.poster
        return {
            "duration": durations_ms[1:] if poster else durations_ms,
            "loop": animation.loops,
            "default_image": poster,
        }
    durations_ms = [round(duration) for duration in durations_ms]
    return {"duration": durations_ms, "loop": animation.loops} if kind.name == "WEBP" else {"duration": durations_ms}


def _split_exif(exif: bytes | None) -> tuple[dict[int, str], dict[int, Folder]]:
    """EXIF as TIFF keeps it: texts among its own tags, and folders that the tags point at."""
    if exif is None:
        return {}, {}
    source = Image.Exif()
    source.load(exif)
    texts = {tag: source[tag] for tag in TIFF_PHOTO_TAGS if isinstance(source.get(tag), str)}
    folders = {tag: _folder(tag, dict(content)) for tag in TIFF_PHOTO_FOLDERS if (content := source.get_ifd(tag))}
    return texts, folders


def _folder(tag: int, content: dict[int, Any]) -> Folder:
    def write(offset: int, header: bytes) -> bytes:
        directory = TiffImagePlugin.ImageFileDirectory_v2(header, group=tag)
        for entry, value in content.items():
            directory[entry] = value
        return bytes(directory.tobytes(offset))

    return write
