"""TIFF as a format of pictures: pages, EXIF among its own tags, and the choice of who decodes a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from adaptsr_cli.io.attached.tiff_tags import attachments_of, exif_of, has_lost_place
from adaptsr_cli.io.attached.writing import Beside
from adaptsr_cli.io.faults import check_pixels
from adaptsr_cli.io.formats.kind import Extras, Layout, Outline
from adaptsr_cli.io.formats.pillow_reading import decode_frame, find_raw_mode, join_frames
from adaptsr_cli.io.pictures import Picture
from adaptsr_cli.io.tiff import (
    TiffPage,
    list_pages,
    read_first_folder,
    read_folders,
    read_layout,
    read_page,
    read_xmp,
    write_tiff,
)


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
        return replace(read_layout(path), exif=exif_of(read_first_folder(path)))

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
        first, *further = picture.frames
        others = [Beside(page.exif, page.attached, None) for page in further]
        write_tiff(path, [first, *further], [extras.beside, *others])


def _list_checked(path: Path) -> list[TiffPage]:
    pages = list_pages(path)
    check_pixels(sum(page.width_px * page.height_px for page in pages), path)
    return pages


def _decode_tiff(path: Path) -> Picture:
    pages = _list_checked(path)
    pictures = []
    for page, folder in zip(pages, read_folders(path), strict=True):
        exif = exif_of(folder)
        if page.direct:
            pictures.append(replace(read_page(path, page.index), exif=exif))
        else:
            with Image.open(path, formats=("TIFF",)) as image:
                image.seek(page.index)
                raw_mode = find_raw_mode(image)
                image.load()
                # Of TIFF Pillow turns the pixels itself.
                pictures.append(decode_frame(image, path, 1, exif, raw_mode))
        pictures[-1] = replace(pictures[-1], attached=attachments_of(folder))
        if has_lost_place(folder):
            remark = "its georeference is left out (it is of the picture as stored, which is turned)"
            pictures[-1] = replace(pictures[-1], remarks=(*pictures[-1].remarks, remark))
    return join_frames(pictures, None)
