"""Decoding of image files to pictures, by Pillow and, for more than 8 bits a channel, by other libraries."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from adaptsr_cli.errors import AdaptsrError, ImageError
from adaptsr_cli.io.exif import clear_orientation, read_orientation
from adaptsr_cli.io.high_bit_depth import INSTALL_IMAGES, decode_deep_avif, decode_deep_png, read_avif_bits
from adaptsr_cli.io.pictures import Animation, Picture, orient, picture_of
from adaptsr_cli.io.tiff import TiffPage, is_tiff, list_pages, read_deep_page

MAX_PIXELS: Final = 1 << 30
"""Most pixels that are decoded, of all pages or frames together: 32768 x 32768 px, 3 GiB as 8-bit RGB."""

# A camera's MPO opens as JPEG. Formats that run programs (EPS) stay out.
READ_FORMATS: Final = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF")

# TIFF keeps EXIF among the tags that describe its own layout; only these describe the photograph.
TIFF_PHOTO_TAGS: Final = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
TIFF_PHOTO_FOLDERS: Final = (0x8769, 0x8825)

_PNG_END: Final = b"\0\0\0\0IEND\xaeB`\x82"

_limit_lock: Final = threading.Lock()
_limit_lifted_blocks = 0  # how many blocks of `pixel_limit_lifted` are open in all threads
_pillows_limit: int | None = None  # what it was before the first of them


@contextmanager
def pixel_limit_lifted() -> Iterator[None]:
    """Lifts Pillow's own limit within this block; `MAX_PIXELS` is checked in its place.

    Pillow warns already at 89 megapixels, which is a legitimate panorama here. The limit is one of the whole process:
    the first of several blocks that are open at once, nested or in threads, lifts it, and the last puts it back.
    """
    global _limit_lifted_blocks, _pillows_limit
    with _limit_lock:
        if _limit_lifted_blocks == 0:
            _pillows_limit = Image.MAX_IMAGE_PIXELS
            Image.MAX_IMAGE_PIXELS = None
        _limit_lifted_blocks += 1
    try:
        yield
    finally:
        with _limit_lock:
            _limit_lifted_blocks -= 1
            if _limit_lifted_blocks == 0:
                Image.MAX_IMAGE_PIXELS = _pillows_limit


def decode_size(path: Path) -> tuple[int, int]:
    """Read the size as displayed, after EXIF orientation, from the header alone: (width_px, height_px)."""
    with faults(path):
        if is_tiff(path):
            first = _list_checked(path)[0]
            return first.width_px, first.height_px
        with open_image(path) as image:
            width_px, height_px = image.size
            turned = read_orientation(image.info.get("exif", b"")) >= 5
        return (height_px, width_px) if turned else (width_px, height_px)


@dataclass(frozen=True)
class Outline:
    """Size and kind of an image file, read without decoding its pixels.

    Attributes:
        width_px: As displayed; of several pages that of the largest.
        height_px: As displayed.
        frames: How many pages or frames.
        deep: Whether it has more than 8 bits a channel.
        alpha: Whether it has transparency.
    """

    width_px: int
    height_px: int
    frames: int = 1
    deep: bool = False
    alpha: bool = False


def read_outline(path: Path, *, by_rows: bool = False) -> Outline:
    """Read size and kind of an image file from its headers.

    Args:
        path: The file.
        by_rows: It is a TIFF to be read by rows, of which `MAX_PIXELS` is no limit.

    Raises:
        ImageError: Not an image, not readable, or too many pixels.
    """
    with faults(path):
        if is_tiff(path):
            pages = list_pages(path) if by_rows else _list_checked(path)
            largest = max(pages, key=lambda page: page.width_px * page.height_px)
            deep, alpha = any(page.deep for page in pages), any(page.alpha for page in pages)
            return Outline(largest.width_px, largest.height_px, len(pages), deep, alpha)
        width_px, height_px = decode_size(path)
        with open_image(path) as image:
            deep = ";16" in _find_raw_mode(image) if image.format == "PNG" else False
            if image.format == "AVIF":
                deep = read_avif_bits(path.read_bytes()) > 8
            # An animation may say only in its later frames that it has transparency.
            count = _count_frames(image)
            return Outline(width_px, height_px, count, deep, count > 1 or image.has_transparency_data)


def decode_picture(path: Path) -> Picture:
    """Decode an image file whole, with all its pages or frames."""
    with faults(path):
        return _decode_tiff(path) if is_tiff(path) else _decode_image(path)


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises on a bad file into one line that names the file; lifts Pillow's pixel limit."""
    try:
        with pixel_limit_lifted():
            yield
    except AdaptsrError:
        raise
    except MemoryError as error:
        raise ImageError(f"not enough memory to decode {path}", "free some, or cut the picture") from error
    except Exception as error:
        # Each of the parsers raises what it happened to trip over: OSError, SyntaxError, struct.error ...
        if isinstance(error, UnidentifiedImageError):
            empty = path.stat().st_size == 0
            reason = (
                "the file is empty" if empty else "it is not an image of a known format, or it is damaged at its start"
            )
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        elif "'imagecodecs' package" in str(error):  # said by tifffile of the compressions that need it
            raise ImageError(f"cannot read {path}: {error}", INSTALL_IMAGES) from error
        else:
            reason = f"damaged or truncated ({error})"
        raise ImageError(f"cannot read {path}: {reason}", "replace the file or leave it out") from error


def open_image(path: Path) -> Image.Image:
    """Open an image file without decoding its pixels; too many of them are refused."""
    image = Image.open(path, formats=READ_FORMATS)
    try:
        _check_pixels(image.width * image.height * _count_frames(image), path)
    except ImageError:
        image.close()
        raise
    return image


def _check_pixels(pixels: int, path: Path) -> None:
    if pixels > MAX_PIXELS:
        raise ImageError(
            f"cannot read {path}: {pixels:,} pixels are more than {MAX_PIXELS:,} pixels",
            "cut the picture into parts",
        )


def _count_frames(image: Image.Image) -> int:
    # What follows the photograph in a camera's MPO is its preview, depth or gain map.
    return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))


def _decode_image(path: Path) -> Picture:
    with open_image(path) as image:
        data = path.read_bytes() if image.format in {"PNG", "AVIF"} else b""
        if image.format == "PNG":
            _verify_png(data)
        count = _count_frames(image)
        raw_mode = _find_raw_mode(image)
        bits = 16 if image.format == "PNG" and ";16" in raw_mode else 8
        if image.format == "AVIF":
            bits = read_avif_bits(data)
        if bits > 8 and count > 1:
            raise ImageError(f"cannot read {path}: an animation of {bits} bits a channel", "make it 8 bits a channel")
        orientation = read_orientation(image.info.get("exif", b""))
        image.load()  # also reads what stands behind the pixels, such as EXIF in PNG
        exif = image.info.get("exif")
        exif = clear_orientation(exif) if isinstance(exif, bytes) and exif else None
        if bits > 8:
            layers = decode_deep_avif(data, bits) if image.format == "AVIF" else decode_deep_png(data)
            icc = image.info.get("icc_profile") or None
            return picture_of(orient(layers, orientation), grey=layers.shape[2] <= 2, icc=icc, exif=exif)
        if count == 1:
            return _decode_frame(image, path, orientation, exif, raw_mode)
        loops = image.info.get("loop", 0)
        poster = bool(getattr(image, "default_image", False))
        frames, durations_ms = [], []
        for index in range(count):
            image.seek(index)
            image.load()
            frames.append(_decode_frame(image, path, orientation, exif if index == 0 else None, raw_mode))
            durations_ms.append(float(image.info.get("duration", 0)))
    return _join_frames(frames, Animation(tuple(durations_ms), int(loops), poster))


def _verify_png(data: bytes) -> None:
    """Compare the checksums of a PNG file up to its end mark, which decoding skips once it has all pixels.

    A file that lost blocks in a power cut would give wrong pixels there, and no error.

    Raises:
        Exception: It is cut off or a checksum differs; of the kinds that Pillow raises.
    """
    with Image.open(BytesIO(data), formats=("PNG",)) as image:
        image.verify()
    # Pillow does not look at the end mark's own checksum.
    if data.rfind(_PNG_END) < 0:
        raise ValueError("its end is missing")


def _join_frames(frames: list[Picture], animation: Animation | None) -> Picture:
    """Make one picture of several; frames of an animation become alike in having transparency and colour."""
    first, *further = frames
    if animation is not None:
        grey = all(frame.grey for frame in frames)
        clear = any(frame.alpha is not None for frame in frames)
        first, *further = (_with_channels(frame, grey=grey, clear=clear) for frame in frames)
    return Picture(first.colour, first.alpha, first.grey, first.icc, first.exif, tuple(further), animation)


def _with_channels(frame: Picture, *, grey: bool, clear: bool) -> Picture:
    alpha = frame.alpha
    if clear and alpha is None:
        alpha = np.full(frame.colour.shape[:2], 255, np.uint8)
    return Picture(frame.colour, alpha, grey, frame.icc, frame.exif)


def _list_checked(path: Path) -> list[TiffPage]:
    pages = list_pages(path)
    _check_pixels(sum(page.width_px * page.height_px for page in pages), path)
    return pages


def _decode_tiff(path: Path) -> Picture:
    pages = _list_checked(path)
    exif = _read_tiff_exif(path)
    pictures = []
    for page in pages:
        if page.deep:
            layers, grey, icc = read_deep_page(path, page.index)
            pictures.append(picture_of(layers, grey=grey, icc=icc, exif=exif))
        else:
            with Image.open(path, formats=("TIFF",)) as image:
                image.seek(page.index)
                raw_mode = _find_raw_mode(image)
                image.load()
                # Of TIFF Pillow turns the pixels itself.
                pictures.append(_decode_frame(image, path, 1, exif, raw_mode))
        exif = None
    return _join_frames(pictures, None)


def _decode_frame(image: Image.Image, path: Path, orientation: int, exif: bytes | None, raw_mode: str) -> Picture:
    """Convert the loaded frame that the file is positioned at."""
    icc: bytes | None = image.info.get("icc_profile") or None
    grey = image.mode in {"1", "L", "LA", "La"} or raw_mode.startswith("LA")
    if image.mode in {"I", "F"}:
        raise ImageError(f"cannot read {path}: its samples are numbers without a fixed range", "make it 8- or 16-bit")
    if image.mode in {"CMYK", "LAB"}:
        layers, icc = np.asarray(_to_srgb(image, icc, path)), None
    elif grey:
        layers = np.asarray(image.convert("LA" if image.has_transparency_data else "L"))
        layers = layers if layers.ndim == 3 else layers[..., None]
    else:
        layers = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    return picture_of(orient(layers, orientation), grey=grey, icc=icc, exif=exif)


def _find_raw_mode(image: Image.Image) -> str:
    """Return the layout of the samples in the file, such as ``RGB;16B``; known only before the pixels are loaded."""
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


def _read_tiff_exif(path: Path) -> bytes | None:
    source, kept = Image.Exif(), Image.Exif()
    with path.open("rb") as handle:
        head = handle.read(16)
        source.endian = "<" if head.startswith(b"II") else ">"
        source.bigtiff = b"+" in head[2:4]
        place = struct.unpack_from(f"{source.endian}Q", head, 8) if source.bigtiff else None
        source.load_from_fp(handle, (place or struct.unpack_from(f"{source.endian}I", head, 4))[0])
        for tag in TIFF_PHOTO_TAGS:
            if tag in source:
                value = source[tag]
                # Pillow reads text as Latin-1, which keeps every byte, but would write it as ASCII.
                kept[tag] = value.encode("latin-1", errors="replace") if isinstance(value, str) else value
        for tag in TIFF_PHOTO_FOLDERS:
            if content := source.get_ifd(tag):
                kept.get_ifd(tag).update(content)
                kept[tag] = kept.get_ifd(tag)
    return kept.tobytes() if len(kept) else None
