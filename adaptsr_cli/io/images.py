"""Image files as arrays: reading, writing, size, and resizing in memory."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.artifacts.degradation import Filter
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io import encoding
from adaptsr_cli.io.colour.code_points import name_hdr
from adaptsr_cli.io.contents import read_contents
from adaptsr_cli.io.decoding import decode_picture, decode_size, decode_xmp, find_content
from adaptsr_cli.io.encoding import check_fit, encode_picture, find_format
from adaptsr_cli.io.faults import faults, pixel_limit_lifted
from adaptsr_cli.io.formats.camera_raw import RawReader, RawRendering
from adaptsr_cli.io.formats.pillow_reading import open_image
from adaptsr_cli.io.formats.table import recognise
from adaptsr_cli.io.pictures import FIRST_FRAME_ONLY, Picture, to_8_bit
from adaptsr_cli.io.xmp_note import unpack_note

_FILTERS = {
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The image files in a folder, sorted; hidden files and what systems leave behind are no images.

    Args:
        folder: Where to look.
        recursive: Also in the folders below, as `read_contents` goes through them.

    Raises:
        ImageError: There is no such folder, or it cannot be read.
    """
    contents = read_contents(folder, recursive=recursive)
    return sorted(path for images in contents.images.values() for path in images)


def image_size(path: Path) -> tuple[int, int]:
    """The size as displayed, after EXIF orientation, from the header alone; of several pages that of the first.

    Returns:
        (width_px, height_px)

    Raises:
        ImageError: No image, or not readable.
    """
    return decode_size(path)


def read_picture(path: Path, raw: RawRendering | None = None, *, keep_damaged: bool = False) -> Picture:
    """Read an image file whole, with all its pages or frames, and as many bits as it has.

    CMYK is converted to sRGB, through its own colour profile where it has one. Reduced copies and masks in a TIFF, and
    what follows the photograph in a camera's MPO (preview, depth or gain map), are no pages. The content decides what a
    file is; a name that says something else is one of the picture's remarks.

    Args:
        path: The file.
        raw: How a raw file is rendered; left out: by the camera's white balance, with no change of exposure.
        keep_damaged: Decode what is damaged or cut off as far as that is possible; the picture says what is wrong.

    Raises:
        DamagedImageError: Damaged or cut off, also where a decoder would fill the gap and say nothing.
        ImageError: No image, more pixels than `faults.MAX_PIXELS`, or of a kind that cannot be read
            faithfully: samples that have no fixed range, an animation of more than 8 bits a channel.
    """
    return decode_picture(path, raw, keep_damaged=keep_damaged)


def read_rgb(path: Path) -> AnyArray:
    """Read an image file as (H, W, 3) uint8; transparency is dropped, 16 bits are rounded to 8.

    Raises:
        ImageError: As `read_picture`, or the file has several pages or frames, or is HDR.
    """
    picture = read_picture(path)
    require_single(picture, path)
    require_sdr(picture, path)
    return to_8_bit(picture.colour)


def require_single(picture: Picture, path: Path) -> None:
    """Refuse what has more to show than one picture, also where no more of it was read.

    Raises:
        ImageError: The file has several pages or frames.
    """
    several = ""
    if picture.further:
        several = f"it has {len(picture.frames)} {'pages' if picture.animation is None else 'frames'}"
    elif FIRST_FRAME_ONLY in picture.remarks:
        several = "it is an animation of several frames"
    if several:
        raise ImageError(f"cannot use {path}: {several}, one is needed", "split it, or leave it out")


def require_sdr(picture: Picture, path: Path) -> None:
    """Refuse HDR where numbers like sRGB's are needed: to learn from, or to compare.

    Raises:
        ImageError: The picture is HDR.
    """
    if name := name_hdr(picture.cicp):
        raise ImageError(f"cannot use {path}: it is {name}", "save it as SDR (sRGB), or leave it out")


def write_picture(path: Path, picture: Picture, *, quality: int = 95, note: str | None = None) -> None:
    """Write an image file, whole or not at all; the format follows the suffix.

    Args:
        path: Where to; its folder is made.
        picture: What to write. Grey is written with one channel where the format has that, 16 bits where the format
            has those (see `holds_16_bit`) and else rounded to 8.
        quality: For the lossy formats (JPEG, WebP, AVIF), 1 to 100; WebP of quality 100 is lossless.
        note: Any text to keep in the file's XMP, to be found by `read_note`; BMP has no place for it.

    Raises:
        ImageError: The format is unknown or cannot hold the transparency, pages, frames or size.
        AdaptsrError: The file cannot be written.
    """
    encode_picture(path, picture, quality=quality, note=note)


def check_writable(path: Path, picture: Picture, width_px: int, height_px: int) -> None:
    """Refuse what `write_picture` would refuse, before anything is computed.

    Args:
        path: Where it would be written; the suffix counts, nothing is touched.
        picture: The picture before upscaling: its pages, frames and transparency count.
        width_px: The width that it will have.
        height_px: The height that it will have.

    Raises:
        ImageError: The format is unknown or cannot hold the transparency, pages, frames or size.
    """
    check_fit(path, picture, width_px, height_px)


def holds_16_bit(path: Path) -> bool:
    """Whether `write_picture` writes 16 bits a channel under this suffix.

    Raises:
        ImageError: An unknown suffix.
    """
    _, limits, _ = find_format(path)
    return limits.deep


def holds_raw(path: Path) -> bool:
    """Whether a file is a camera's raw file, by its content.

    Raises:
        ImageError: It cannot be read, or is no image.
    """
    return isinstance(find_content(path).reader, RawReader)


def is_lossy(path: Path) -> bool:
    """Whether `quality` changes what is written under this suffix.

    Raises:
        ImageError: An unknown suffix.
    """
    _, limits, _ = find_format(path)
    return limits.lossy


def list_changes(path: Path, picture: Picture) -> list[str]:
    """What `write_picture` will change about a picture under this name, and the user should know.

    Raises:
        ImageError: An unknown suffix.
    """
    return encoding.list_changes(path, picture)


def read_note(path: Path) -> str | None:
    """The text that `write_picture` was given as `note`, from the header alone; None where there is none.

    Raises:
        ImageError: No image, or not readable.
    """
    xmp = decode_xmp(path)
    return None if xmp is None else unpack_note(xmp)


def jpeg_table(path: Path) -> tuple[int, ...] | None:
    """The quantisation steps for brightness of a JPEG file, row by row, from the header alone.

    Returns:
        64 steps; None where the file is no JPEG.

    Raises:
        ImageError: No image, or not readable.
    """
    with faults(path):
        if recognise(path).name != "JPEG":
            return None
        with open_image(path, "JPEG") as image:
            tables: dict[int, list[int]] = getattr(image, "quantization", {})
    return tuple(tables[0]) if 0 in tables else None


def write_rgb(path: Path, rgb: AnyArray, *, quality: int = 95) -> None:
    """Write (H, W, 3) uint8 as an image file; see `write_picture`."""
    write_picture(path, Picture(rgb), quality=quality)


def encode_jpeg(rgb: AnyArray, quality: int, *, subsampling: Literal["4:2:0", "4:4:4"] = "4:2:0") -> bytes:
    """A JPEG in memory.

    Args:
        rgb: (H, W, 3) uint8.
        quality: 1 to 95.
        subsampling: Of colour: the 4:2:0 that cameras write, or 4:4:4, which leaves colour as sharp as it is.
    """
    buffer = BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def decode_rgb(data: bytes) -> AnyArray:
    """Decode an image file held in memory to (H, W, 3) uint8.

    Raises:
        ImageError: The bytes are no image.
    """
    try:
        with pixel_limit_lifted(), Image.open(BytesIO(data), formats=("JPEG", "PNG", "TIFF", "WEBP")) as image:
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"cannot decode {len(data)} bytes as an image: {error}") from error


def resize(image: AnyArray, width_px: int, height_px: int, method: Filter) -> AnyArray:
    """Resize with antialiasing: the filter widens with the reduction, as in MATLAB's `imresize`.

    Args:
        image: (H, W, 3) uint8, or float32 of any range.
        width_px: New width.
        height_px: New height.
        method: ``area``, ``bilinear``, ``bicubic`` (a = -0.5) or ``lanczos`` (of three lobes).

    Returns:
        (height_px, width_px, 3) of the same type; float is neither rounded nor clipped.
    """
    size, resampling = (width_px, height_px), _FILTERS[method]
    if image.dtype == np.uint8:
        return np.array(Image.fromarray(image).resize(size, resampling))
    planes = [np.ascontiguousarray(image[..., channel], dtype=np.float32) for channel in range(image.shape[2])]
    return np.dstack([np.array(Image.fromarray(plane).resize(size, resampling)) for plane in planes])


def resize_bicubic(rgb: AnyArray, width_px: int, height_px: int) -> AnyArray:
    """Resize (H, W, 3) uint8 by the antialiased bicubic filter to (height_px, width_px, 3) uint8."""
    return resize(rgb, width_px, height_px, "bicubic")
