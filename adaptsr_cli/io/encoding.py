"""Encoding of pictures to image files, each by the writer of its format and within its limits."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.atomic import replace_atomically
from adaptsr_cli.io.attached.writing import Beside, list_lost, move_prompt
from adaptsr_cli.io.colour.code_points import make_profile, name_hdr
from adaptsr_cli.io.colour.convert import convert_to_srgb
from adaptsr_cli.io.colour.icc import read_space
from adaptsr_cli.io.exif import set_size
from adaptsr_cli.io.formats.gain_map import clear_description
from adaptsr_cli.io.formats.kind import Extras, FileFormat, Limits, Writer
from adaptsr_cli.io.formats.table import WRITE_SUFFIXES, find_by_suffix
from adaptsr_cli.io.pictures import Animation, Picture, narrow
from adaptsr_cli.units import join_words

_MOST_JPEG_ICC: Final = 255 * 65_519  # segments are numbered by one byte


def encode_picture(path: Path, picture: Picture, *, quality: int, note: str | None) -> None:
    """Write a picture in the format of the suffix; see `adaptsr_cli.io.images.write_picture`."""
    kind, limits, writer = find_format(path)
    height_px, width_px = picture.colour.shape[:2]
    check_fit(path, picture, width_px, height_px)
    picture = _drop_unsupported(kind, limits, picture)
    beside = _keep_beside(limits, picture, note)
    with replace_atomically(path) as temporary:
        try:
            writer.encode(temporary, picture, Extras(quality, beside))
        except (OSError, ValueError, OverflowError, RuntimeError, SyntaxError, struct.error) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault, not the encoder's
            size = f"{width_px} x {height_px} px"
            raise ImageError(f"cannot write {path} ({size}) as {kind.name}: {error}", "write .png") from error


def _keep_beside(limits: Limits, picture: Picture, note: str | None) -> Beside:
    """What goes with a picture into a file of a format."""
    height_px, width_px = picture.colour.shape[:2]
    exif = set_size(picture.exif, width_px, height_px) if picture.exif and "exif" in limits.holds else None
    attached = picture.attached
    if attached.xmp and not (limits.gain_map and picture.gain_map):
        attached = replace(attached, xmp=clear_description(attached.xmp))
    beside = Beside(exif, attached, note if "xmp" in limits.holds else None)
    return move_prompt(beside) if "exif" in limits.holds and "texts" not in limits.holds else beside


def list_losses(path: Path, picture: Picture) -> list[str]:
    """What goes with a picture and is left out in the format of a suffix."""
    kind, limits, _ = find_format(path)
    kept = [replace(_keep_beside(limits, frame, None), exif=frame.exif) for frame in picture.frames]
    lost = [list_lost(beside, limits.holds) for beside in kept]
    names = list(dict.fromkeys(name for names in lost for name in names))
    if not names:
        return []
    return [f"{join_words(names)} left out ({kind.name} has no place for that)"]


def find_format(path: Path) -> tuple[FileFormat, Limits, Writer]:
    """Return the format that a suffix stands for, what it can hold, and what writes it.

    Raises:
        ImageError: The suffix is of no format that is written.
    """
    kind = find_by_suffix(path.suffix)
    if kind is None or kind.limits is None or kind.writer is None:
        raise ImageError(
            f"cannot write {path}: unknown image format {path.suffix!r}",
            f"use one of {', '.join(sorted(WRITE_SUFFIXES))}",
        )
    return kind, kind.limits, kind.writer


def check_fit(path: Path, picture: Picture, width_px: int, height_px: int) -> None:
    """Refuse a picture of which the format would visibly lose something; see `images.check_writable`."""
    kind, limits, writer = find_format(path)
    if max(width_px, height_px) > limits.most_px:
        raise ImageError(
            f"cannot write {path}: {width_px} x {height_px} px are more than the {limits.most_px:,} px that "
            f"{kind.name} holds along a side",
            "write .tif",
        )
    writer.check_available(deep=limits.deep and picture.colour.dtype == np.uint16)
    if (hdr := name_hdr(picture.cicp)) and not limits.cicp:
        raise ImageError(
            f"cannot write {path}: the picture is {hdr}, and {kind.name} holds none", "write .png, .avif or .heic"
        )
    if must_convert(limits, picture):
        _try_conversion(path, picture)
    if kind.name == "JPEG" and len(picture.icc or b"") > _MOST_JPEG_ICC:
        raise ImageError(f"cannot write {path}: its colour profile is larger than JPEG holds", "write .png")
    if picture.further:
        several = "pages" if picture.animation is None else "frames"
        if limits.several != several:
            others = ".tif" if several == "pages" else ".png, .webp or .avif"
            raise ImageError(
                f"cannot write {path}: {kind.name} holds no {several}, and the picture has {len(picture.frames)}",
                f"write {others}",
            )
    alpha = picture.alpha
    if not limits.alpha and alpha is not None and np.any(alpha != np.iinfo(alpha.dtype).max):
        raise ImageError(
            f"cannot write {path}: {kind.name} holds no transparency, and the picture has some", "write .png or .webp"
        )


def _try_conversion(path: Path, picture: Picture) -> None:
    """Convert a single pixel to sRGB, to see whether the profile allows it."""
    pixel = replace(picture, colour=picture.colour[:1, :1], alpha=None, further=())
    try:
        convert_to_srgb(pixel)
    except (ValueError, RuntimeError) as error:
        raise ImageError(
            f"cannot write {path}: its colours cannot be converted to sRGB ({error})", "write .png or .tif"
        ) from error


def _drop_unsupported(kind: FileFormat, limits: Limits, picture: Picture) -> Picture:
    """Remove from a picture what the format cannot hold and nobody misses."""
    if picture.animation is not None and picture.animation.poster and kind.name != "PNG":
        first, *others = picture.further  # the poster is no frame
        timing = Animation(picture.animation.durations_ms[1:], picture.animation.loops)
        picture = replace(picture, colour=first.colour, alpha=first.alpha, further=tuple(others), animation=timing)
    if not limits.alpha:
        picture = replace(picture, alpha=None)
    return _fit_colours(limits, picture if limits.deep else narrow(picture))


def _fit_colours(limits: Limits, picture: Picture) -> Picture:
    """Describe the colours in a way that the format has, or else convert them to sRGB, which needs no description."""
    if picture.cicp is not None and not (limits.cicp and limits.photo_data):
        picture = replace(picture, icc=make_profile(picture.cicp, grey=picture.grey), cicp=None)
    if picture.icc is not None and read_space(picture.icc) == "RGB":
        picture = replace(picture, grey=False)  # a profile of RGB has no meaning in a file of grey
    return convert_to_srgb(picture) if must_convert(limits, picture) else picture


def must_convert(limits: Limits, picture: Picture) -> bool:
    """Whether a format cannot say what a picture's colours are, so that they are converted to sRGB."""
    if picture.icc is None and picture.cicp is None:
        return False
    deep = limits.deep and picture.colour.dtype == np.uint16
    grey = picture.icc is not None and read_space(picture.icc) == "GRAY"
    return not limits.photo_data or (grey and not limits.grey_profile) or (deep and not limits.deep_profile)


def list_changes(path: Path, picture: Picture) -> list[str]:
    """What is different about a picture once it is written, and worth a remark."""
    kind, limits, _ = find_format(path)
    changes = []
    if picture.colour.dtype == np.uint16 and not limits.deep:
        changes.append(f"16 bits a channel are written as 8 ({path.suffix.lower()} holds no more)")
    if picture.gain_map is not None and not limits.gain_map:
        changes.append(
            f"its HDR gain map is left out, which {kind.name} does not hold: the result is the picture as screens "
            "without HDR show it"
        )
    if must_convert(limits, picture):
        changes.append(f"its colours are converted to sRGB ({kind.name} as it is written holds no such profile)")
    return [*changes, *list_losses(path, picture)]
