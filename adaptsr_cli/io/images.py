"""Reading and writing image files; the only door to Pillow."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from adaptsr_cli.errors import AdaptsrError, ImageError
from adaptsr_cli.io.atomic import write_bytes
from adaptsr_cli.io.exif import clear_orientation, read_orientation

Array = np.ndarray[Any, np.dtype[Any]]
Filter = Literal["area", "bilinear", "bicubic"]

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".avif"})
MAX_PIXELS: Final = 1 << 30
"""Largest image that is decoded: 32768 x 32768 pixels, 3 GiB as 8-bit RGB."""

# A camera's MPO opens as JPEG. Formats that run programs (EPS) stay out.
_READ_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF")
_WRITE_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".avif": "AVIF",
}
_FILTERS = {
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
# TIFF keeps EXIF among the tags that describe its own layout; only these describe the photograph.
_TIFF_PHOTO_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
_TIFF_PHOTO_FOLDERS = (0x8769, 0x8825)

# Pillow's own limit warns already at 89 megapixels, which is a legitimate panorama here; `_open` has ours.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Picture:
    """What an image file holds.

    Attributes:
        colour: (H, W, 3) uint8 or uint16; grey is repeated to three channels.
        alpha: (H, W) of the same type, or None where the file has no transparency.
        grey: Whether the file was grey; it is then written as grey again.
        icc: The colour profile that the numbers are in, or None.
        exif: EXIF with its ``Exif`` prefix; the orientation is already applied and its tag cleared.
        reduced_from_16_bit: Whether the file had 16 bits a channel of which only the upper 8 could be read.
    """

    colour: Array
    alpha: Array | None = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    reduced_from_16_bit: bool = False


def list_images(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The image files in a folder, sorted; hidden files and what systems leave behind are no images.

    Args:
        folder: Where to look.
        recursive: Also in the folders below; hidden ones and ``__MACOSX`` are left out.

    Raises:
        ImageError: There is no such folder, or it cannot be read.
    """
    found: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith((".", "__MACOSX")):
                    continue
                path = folder / entry.name
                if path.suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
                    found.append(path)
                elif recursive and entry.is_dir(follow_symlinks=False):
                    found.extend(list_images(path, recursive=True))
    except OSError as error:
        raise ImageError(f"cannot read the folder {folder}: {error.strerror or error}", "check the path") from error
    return sorted(found)


def image_size(path: Path) -> tuple[int, int]:
    """The size as displayed, after EXIF orientation, from the header alone.

    Returns:
        (width_px, height_px)

    Raises:
        ImageError: No image, or not readable.
    """
    with _faults(path), _open(path) as image:
        width_px, height_px = image.size
        turned = _find_orientation(image) >= 5
    return (height_px, width_px) if turned else (width_px, height_px)


def read_picture(path: Path) -> Picture:
    """Reads an image file whole; of several frames or pages the first.

    CMYK is converted to sRGB, through its own colour profile where it has one.

    Raises:
        ImageError: No image, truncated, larger than `MAX_PIXELS`, or of samples that have no fixed range.
    """
    with _faults(path), _open(path) as image:
        return _decode(image, path)


def read_rgb(path: Path) -> Array:
    """Reads an image file as (H, W, 3) uint8; transparency is dropped, of 16 bits the upper 8 are taken.

    Raises:
        ImageError: As `read_picture`.
    """
    colour = read_picture(path).colour
    return colour if colour.dtype == np.uint8 else (colour >> 8).astype(np.uint8)


def write_picture(path: Path, picture: Picture, *, quality: int = 95) -> None:
    """Writes an image file, whole or not at all; the format follows the suffix.

    Args:
        path: Where to; its folder is made.
        picture: What to write. Grey is written with one channel where the format has that.
        quality: For the lossy formats (JPEG, WebP, AVIF), 1 to 100; WebP of quality 100 is lossless.

    Raises:
        ImageError: The format is unknown or cannot hold the transparency, depth or size.
        AdaptsrError: The file cannot be written.
    """
    kind = _WRITE_FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ImageError(
            f"cannot write {path}: unknown image format {path.suffix!r}",
            f"use one of {', '.join(sorted(_WRITE_FORMATS))}",
        )
    alpha = picture.alpha
    if alpha is not None and kind in {"JPEG", "BMP"}:
        if np.any(alpha != np.iinfo(alpha.dtype).max):
            raise ImageError(
                f"cannot write {path}: {kind} holds no transparency, and the picture has some",
                "write .png or .webp",
            )
        alpha = None
    wide = picture.colour.dtype == np.uint16
    if wide and (kind not in {"PNG", "TIFF"} or not picture.grey or alpha is not None):
        raise ImageError(
            f"cannot write {path}: 16 bits are only written for grey without transparency, as PNG or TIFF",
            "write .png, or make the picture 8-bit",
        )
    layers = picture.colour[..., 0] if picture.grey else picture.colour
    if alpha is not None:
        layers = np.dstack([layers, alpha])
    image = Image.fromarray(np.ascontiguousarray(layers))
    options: dict[str, Any] = {}
    if kind == "JPEG":
        options = {"quality": quality, "subsampling": "4:4:4"}
    elif kind == "WEBP":
        options = {"quality": quality, "lossless": quality >= 100, "exact": True}
    elif kind == "AVIF":
        options = {"quality": quality, "subsampling": "4:4:4"}
    elif kind == "TIFF":
        # libtiff's own writer, which compresses, cannot write the EXIF folder.
        options = {"compression": "raw" if picture.exif else "tiff_adobe_deflate"}
    # A grey profile in a file of three channels (WebP has no grey) would be wrong, not merely useless.
    if picture.icc and not (kind == "WEBP" and picture.icc[16:20] == b"GRAY"):
        options["icc_profile"] = picture.icc
    if picture.exif and kind != "BMP":
        options["exif"] = picture.exif
    buffer = BytesIO()
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError, OverflowError, RuntimeError, struct.error) as error:
        size = f"{image.width} x {image.height} px"
        raise ImageError(f"cannot write {path} ({size}) as {kind}: {error}", "write .png") from error
    write_bytes(path, buffer.getvalue())


def write_rgb(path: Path, rgb: Array, *, quality: int = 95) -> None:
    """Writes (H, W, 3) uint8 as an image file; see `write_picture`."""
    write_picture(path, Picture(rgb), quality=quality)


def encode_jpeg(rgb: Array, quality: int) -> bytes:
    """A JPEG with the 4:2:0 colour that cameras write.

    Args:
        rgb: (H, W, 3) uint8.
        quality: 1 to 95.
    """
    buffer = BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()


def decode_rgb(data: bytes) -> Array:
    """Decodes an image file held in memory to (H, W, 3) uint8.

    Raises:
        ImageError: The bytes are no image.
    """
    try:
        with Image.open(BytesIO(data), formats=_READ_FORMATS) as image:
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(f"cannot decode {len(data)} bytes as an image: {error}") from error


def resize(image: Array, width_px: int, height_px: int, method: Filter) -> Array:
    """Resizes with antialiasing: the filter widens with the reduction, as in MATLAB's `imresize`.

    Args:
        image: (H, W, 3) uint8, or float32 of any range.
        width_px: New width.
        height_px: New height.
        method: ``area``, ``bilinear`` or ``bicubic`` (a = -0.5).

    Returns:
        (height_px, width_px, 3) of the same type; float is neither rounded nor clipped.
    """
    size, resampling = (width_px, height_px), _FILTERS[method]
    if image.dtype == np.uint8:
        return np.array(Image.fromarray(image).resize(size, resampling))
    planes = [np.ascontiguousarray(image[..., channel], dtype=np.float32) for channel in range(image.shape[2])]
    return np.dstack([np.array(Image.fromarray(plane).resize(size, resampling)) for plane in planes])


def resize_bicubic(rgb: Array, width_px: int, height_px: int) -> Array:
    """Resizes (H, W, 3) uint8 by the antialiased bicubic filter to (height_px, width_px, 3) uint8."""
    return resize(rgb, width_px, height_px, "bicubic")


@contextmanager
def _faults(path: Path) -> Iterator[None]:
    """Turns whatever Pillow raises on a bad file into one line that names the file."""
    try:
        yield
    except AdaptsrError:
        raise
    except MemoryError as error:
        raise ImageError(f"not enough memory to decode {path}", "free some, or cut the picture") from error
    except Exception as error:
        # Each of Pillow's parsers raises what it happened to trip over: OSError, SyntaxError, struct.error ...
        if isinstance(error, UnidentifiedImageError):
            empty = path.stat().st_size == 0
            reason = "the file is empty" if empty else "it is no image of a known format, or damaged at its start"
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        else:
            reason = f"damaged or truncated ({error})"
        raise ImageError(f"cannot read {path}: {reason}", "replace the file or leave it out") from error


def _open(path: Path) -> Image.Image:
    image = Image.open(path, formats=_READ_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise ImageError(
            f"cannot read {path}: {image.width} x {image.height} px are more than {MAX_PIXELS:,} pixels",
            "cut the picture into parts",
        )
    return image


def _decode(image: Image.Image, path: Path) -> Picture:
    raw_mode = _find_raw_mode(image)
    orientation = _find_orientation(image)
    image.load()
    icc: bytes | None = image.info.get("icc_profile") or None
    exif = _take_exif(image)
    reduced = ";16" in raw_mode and not image.mode.startswith("I;16")
    grey = image.mode in {"1", "L", "LA", "La"} or raw_mode.startswith("LA")
    if image.mode.startswith("I;16"):
        samples = np.asarray(image).astype(np.uint16)
        key = image.info.get("transparency")
        if isinstance(key, int):  # neither Pillow nor this module writes 16-bit grey with transparency
            layers: Array = np.dstack([samples >> 8, np.where(samples == key, 0, 255)]).astype(np.uint8)
            reduced = True
        else:
            layers = samples[..., None]
        grey = True
    elif image.mode in {"I", "F"}:
        raise ImageError(
            f"cannot read {path}: its samples are 32-bit numbers without a fixed range", "make it 8- or 16-bit"
        )
    elif image.mode in {"CMYK", "LAB"}:
        layers, icc = np.asarray(_to_srgb(image, icc, path)), None
    elif grey:
        layers = np.asarray(image.convert("LA" if image.has_transparency_data else "L"))
        layers = layers if layers.ndim == 3 else layers[..., None]
    else:
        layers = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    layers = _orient(layers, orientation)
    alpha = np.ascontiguousarray(layers[..., -1]) if layers.shape[2] in {2, 4} else None
    colour = layers[..., :3] if layers.shape[2] >= 3 else layers[..., :1].repeat(3, axis=2)
    return Picture(np.array(colour, order="C"), alpha, grey, icc, exif, reduced)


def _find_raw_mode(image: Image.Image) -> str:
    """How the samples lie in the file, such as ``RGB;16B``; known only before the pixels are loaded."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _to_srgb(image: Image.Image, icc: bytes | None, path: Path) -> Image.Image:
    if image.mode == "CMYK" and icc is None:
        return image.convert("RGB")
    try:
        source: Any = (
            ImageCms.createProfile("LAB") if image.mode == "LAB" else ImageCms.ImageCmsProfile(BytesIO(icc or b""))
        )
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise ImageError(f"cannot read {path}: its {image.mode} colour profile is damaged", "make it RGB") from error
    assert isinstance(converted, Image.Image)
    return converted


def _find_orientation(image: Image.Image) -> int:
    # Of TIFF Pillow turns the pixels itself, and gives the size as turned.
    return 1 if image.format == "TIFF" else read_orientation(image.info.get("exif", b""))


def _take_exif(image: Image.Image) -> bytes | None:
    if image.format == "TIFF":
        return _take_tiff_exif(image)
    exif = image.info.get("exif")
    return clear_orientation(exif) if isinstance(exif, bytes) and exif else None


def _take_tiff_exif(image: Image.Image) -> bytes | None:
    source, kept = image.getexif(), Image.Exif()
    for tag in _TIFF_PHOTO_TAGS:
        if tag in source:
            kept[tag] = source[tag]
    for tag in _TIFF_PHOTO_FOLDERS:
        if content := source.get_ifd(tag):
            kept.get_ifd(tag).update(content)
            kept[tag] = kept.get_ifd(tag)
    return kept.tobytes() if len(kept) else None


def _orient(layers: Array, orientation: int) -> Array:
    """Turns (H, W, C) as the eight EXIF orientations say."""
    if orientation in {5, 6, 7, 8}:
        layers = layers.transpose(1, 0, 2)  # (W, H, C)
    if orientation in {2, 3, 6, 7}:
        layers = layers[:, ::-1]
    if orientation in {3, 4, 7, 8}:
        layers = layers[::-1]
    return layers
