"""Decoding of image files to pictures: by content, each by the reader of its format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adaptsr_cli.errors import DamagedImageError, ImageError
from adaptsr_cli.io.attached.reading import read_attachments
from adaptsr_cli.io.colour.convert import settle_colours
from adaptsr_cli.io.damage import find_damage
from adaptsr_cli.io.faults import damaged, faults
from adaptsr_cli.io.formats.camera_raw import RawReader, RawRendering
from adaptsr_cli.io.formats.heif import HeifReader
from adaptsr_cli.io.formats.jpeg_xl import JpegXlReader
from adaptsr_cli.io.formats.kind import FileFormat, Layout, Outline, Reader
from adaptsr_cli.io.formats.table import find_by_suffix, recognise
from adaptsr_cli.io.formats.tiff import TiffReader
from adaptsr_cli.io.pictures import Picture
from adaptsr_cli.io.tolerance import strictly, tolerantly


def decode_size(path: Path) -> tuple[int, int]:
    """Read the size as displayed, after EXIF orientation, from the header alone: (width_px, height_px)."""
    kind = find_content(path)
    with faults(path, kind.name):
        return kind.reader.read_size(path)


def read_outline(path: Path, *, by_rows: bool = False) -> Outline:
    """Read size and kind of an image file from its headers.

    Args:
        path: The file.
        by_rows: It is a TIFF to be read by rows, of which `faults.MAX_PIXELS` is no limit.

    Raises:
        ImageError: Not an image, not readable, or too many pixels.
    """
    kind = find_content(path)
    with faults(path, kind.name):
        if isinstance(kind.reader, TiffReader):
            return kind.reader.read_outline(path, by_rows=by_rows)
        return kind.reader.read_outline(path)


def decode_picture(path: Path, raw: RawRendering | None = None, *, keep_damaged: bool = False) -> Picture:
    """Decode an image file whole, with all its pages or frames; see `adaptsr_cli.io.images.read_picture`."""
    kind = find_content(path)
    reader = RawReader(raw) if raw is not None and isinstance(kind.reader, RawReader) else kind.reader
    try:
        with strictly(), faults(path, kind.name):
            if fault := find_damage(path):
                raise damaged(path, fault)
            picture = _decode(path, kind.name, reader)
    except DamagedImageError as error:
        if not keep_damaged:
            raise
        with tolerantly(), faults(path, kind.name):
            picture = replace(_decode(path, kind.name, reader), damage=error.fault)
    with faults(path, kind.name):
        picture = settle_colours(picture)
    named = find_by_suffix(path.suffix)
    if named is not kind:
        remark = f"is {kind.name}, though its name ends in {path.suffix or 'nothing'}"
        picture = replace(picture, remarks=(remark, *picture.remarks))
    return picture


def read_layout(path: Path) -> tuple[str, Layout]:
    """Read how a file holds its picture, from the header alone.

    Returns:
        The name of the format by its content, and the layout.

    Raises:
        ImageError: Not an image, or not readable.
    """
    kind = find_content(path)
    with faults(path, kind.name):
        return kind.name, kind.reader.read_layout(path)


def find_fault(path: Path) -> str | None:
    """Look for damage of an image file that its decoder would pass over; None where nothing was found.

    Raises:
        ImageError: Not readable.
    """
    with faults(path):
        return find_damage(path)


def _decode(path: Path, name: str, reader: Reader) -> Picture:
    """The picture with what goes with it."""
    picture = reader.decode(path)
    if isinstance(reader, TiffReader | RawReader):
        return picture  # of a TIFF it is known of each page; of a raw file XMP says how it is to be developed
    attached = read_attachments(path, name, exif=picture.exif, xmp=reader.read_xmp(path))
    return replace(picture, attached=attached)


def decode_xmp(path: Path) -> bytes | None:
    """Read the XMP packet of an image file from its header."""
    kind = find_content(path)
    with faults(path, kind.name):
        return kind.reader.read_xmp(path)


def decode_exif(path: Path) -> bytes | None:
    """Read the EXIF of a file whose format hides it from `shot_exif` (HEIC, JPEG XL); None for all others.

    Raises:
        ImageError: Such a file is damaged, or its library is not installed.
    """
    try:
        kind = recognise(path)
    except (ImageError, OSError):
        return None  # what is wrong with it is told when its pixels are read
    if not isinstance(kind.reader, HeifReader | JpegXlReader):
        return None
    with faults(path, kind.name):
        return kind.reader.read_exif(path) or b""


def find_content(path: Path) -> FileFormat:
    """The format of a file by its content.

    Raises:
        ImageError: It cannot be read, or is of no known format.
    """
    with faults(path):
        return recognise(path)
