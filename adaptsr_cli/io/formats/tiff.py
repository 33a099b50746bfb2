"""TIFF as a format of pictures: pages, EXIF among its own tags, and the choice of who decodes a page."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from PIL import Image, TiffImagePlugin

from adaptsr_cli.io.faults import check_pixels
from adaptsr_cli.io.formats.kind import Extras, Layout, Outline
from adaptsr_cli.io.formats.pillow_reading import decode_frame, find_raw_mode, join_frames
from adaptsr_cli.io.pictures import Picture
from adaptsr_cli.io.tiff import Folder, TiffPage, list_pages, read_layout, read_page, read_xmp, write_tiff

# TIFF keeps EXIF among the tags that describe its own layout; only these describe the photograph.
TIFF_PHOTO_TAGS: Final = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
TIFF_PHOTO_FOLDERS: Final = (0x8769, 0x8825)


class TiffReader:
    """Reads TIFF and BigTIFF."""

    def read_size(self, path: Path) -> tuple[int, int]:
        """The size of the first page as displayed."""
        first = _list_checked(path)[0]
        return first.width_px, first.height_px

    def read_outline(self, path: Path, *, by_rows: bool = False) -> Outline:
        """Size and kind; a file that is to be read by rows may have any number of pixels."""
        pages = list_pages(path) if by_rows else _list_checked(path)
        largest = max(pages, key=lambda page: page.width_px * page.height_px)
        deep, alpha = any(page.deep for page in pages), any(page.alpha for page in pages)
        return Outline(largest.width_px, largest.height_px, len(pages), deep, alpha)

    def read_layout(self, path: Path) -> Layout:
        """How the pages are held."""
        return replace(read_layout(path), exif=read_tiff_exif(path))

    def decode(self, path: Path) -> Picture:
        """The picture with all its pages."""
        return _decode_tiff(path)

    def read_xmp(self, path: Path) -> bytes | None:
        """The XMP packet of the first page."""
        return read_xmp(path)


class TiffWriter:
    """Writes TIFF, BigTIFF where it must be."""

    def check_available(self, *, deep: bool) -> None:
        """All that it needs is always installed."""

    def encode(self, path: Path, picture: Picture, extras: Extras) -> None:
        """Write all pages."""
        texts, folders = _split_exif(extras.exif)
        write_tiff(path, picture.frames, texts=texts, folders=folders, xmp=extras.xmp)


def _list_checked(path: Path) -> list[TiffPage]:
    pages = list_pages(path)
    check_pixels(sum(page.width_px * page.height_px for page in pages), path)
    return pages


def _decode_tiff(path: Path) -> Picture:
    pages = _list_checked(path)
    exif = read_tiff_exif(path)
    pictures = []
    for page in pages:
        if page.direct:
            pictures.append(replace(read_page(path, page.index), exif=exif))
        else:
            with Image.open(path, formats=("TIFF",)) as image:
                image.seek(page.index)
                raw_mode = find_raw_mode(image)
                image.load()
                # Of TIFF Pillow turns the pixels itself.
                pictures.append(decode_frame(image, path, 1, exif, raw_mode))
        exif = None
    return join_frames(pictures, None)


def read_tiff_exif(path: Path) -> bytes | None:
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
