"""Table of the formats of image files: to read or write another one, add its line."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.file_kinds import require_regular
from adaptsr_cli.io.formats.avif import AvifWriter
from adaptsr_cli.io.formats.camera_raw import RAW_SUFFIXES, RawReader, is_raw
from adaptsr_cli.io.formats.heif import HeifReader, HeifWriter, is_heif
from adaptsr_cli.io.formats.jpeg import JpegReader, JpegWriter
from adaptsr_cli.io.formats.jpeg_xl import JpegXlReader, JpegXlWriter, is_jpeg_xl
from adaptsr_cli.io.formats.kind import FileFormat, Limits
from adaptsr_cli.io.formats.pillow_reading import PillowReader
from adaptsr_cli.io.formats.pillow_writing import PillowWriter
from adaptsr_cli.io.formats.signatures import HEAD_BYTES, begins, has_brand, is_bmp, is_mpo, is_webp, name_other_kind
from adaptsr_cli.io.formats.tiff import TiffReader, TiffWriter

_COMMON: Final = frozenset({"exif", "xmp", "density"})

FORMATS: Final = (
    FileFormat(
        "PNG",
        (".png",),
        begins(b"\x89PNG\r\n\x1a\n"),
        PillowReader("PNG"),
        Limits(
            deep=True, several="frames", cicp=True, most_px=1_000_000, holds=_COMMON | {"iptc", "texts", "comments"}
        ),
        PillowWriter("PNG"),
    ),
    FileFormat("MPO", (".mpo",), is_mpo, JpegReader(), becomes=".jpg"),
    FileFormat(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"),
        begins(b"\xff\xd8\xff"),
        JpegReader(),
        Limits(alpha=False, gain_map=True, most_px=65_500, lossy=True, holds=_COMMON | {"iptc", "comments"}),
        JpegWriter(),
    ),
    FileFormat(
        "WebP",
        (".webp",),
        is_webp,
        PillowReader("WEBP"),
        Limits(several="frames", grey_profile=False, most_px=16_383, lossy=True),
        PillowWriter("WEBP"),
    ),
    FileFormat("camera raw", RAW_SUFFIXES, is_raw, RawReader(), becomes=".tif"),
    FileFormat(
        "TIFF",
        (".tif", ".tiff"),
        begins(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        TiffReader(),
        Limits(deep=True, several="pages", holds=_COMMON | {"iptc", "geo"}),
        TiffWriter(),
    ),
    FileFormat(
        "BMP",
        (".bmp",),
        is_bmp,
        PillowReader("BMP"),
        Limits(alpha=False, photo_data=False, holds=frozenset({"density"})),
        PillowWriter("BMP"),
    ),
    FileFormat(
        "AVIF",
        (".avif",),
        has_brand(b"avif", b"avis"),
        PillowReader("AVIF"),
        Limits(deep=True, bits=10, several="frames", grey_profile=False, cicp=True, most_px=65_536, lossy=True),
        AvifWriter("AVIF"),
    ),
    FileFormat(
        "HEIC",
        (".heic", ".heif", ".hif"),
        is_heif,
        HeifReader(),
        Limits(deep=True, bits=10, grey_profile=False, cicp=True, most_px=16_384, lossy=True),
        HeifWriter(),
    ),
    FileFormat(
        "JPEG XL",
        (".jxl",),
        is_jpeg_xl,
        JpegXlReader(),
        Limits(deep=True, grey_profile=False, deep_profile=False, lossy=True),
        JpegXlWriter(),
    ),
    FileFormat("GIF", (".gif",), begins(b"GIF87a", b"GIF89a"), PillowReader("GIF", first_only=True)),
)
"""All formats. The first one that recognises a file reads it."""

READ_SUFFIXES: Final = frozenset(suffix for kind in FORMATS for suffix in kind.suffixes)
"""Endings of the files that are read."""

WRITE_SUFFIXES: Final = frozenset(suffix for kind in FORMATS if kind.writer for suffix in kind.suffixes)
"""Endings of the files that are written."""


def recognise(path: Path) -> FileFormat:
    """The format of a file by its content, whatever its name says.

    Raises:
        ImageError: It is of none of the formats.
        OSError: It cannot be read.
    """
    require_regular(path)
    with path.open("rb") as handle:
        head = handle.read(HEAD_BYTES)
    for kind in FORMATS:
        if kind.recognise(head, path):
            return kind
    other = name_other_kind(head)
    if other:
        raise ImageError(f"cannot read {path}: it is {other}, which is not read", "convert it, or leave it out")
    reason = (
        "it is not an image of a known format, or it is damaged at its start" if head else "the file is empty"
    )  # fmt: skip
    raise ImageError(f"cannot read {path}: {reason}", "replace the file or leave it out")


def find_by_suffix(suffix: str) -> FileFormat | None:
    """The format that a file ending, with its dot, stands for."""
    return next((kind for kind in FORMATS if suffix.lower() in kind.suffixes), None)
