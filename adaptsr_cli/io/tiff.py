"""TIFF files: list of pages, decoding of those that Pillow does not read, and writing.

Most pages of 8 bits are decoded by Pillow, which knows their many kinds of colour; see `adaptsr_cli.io.formats.tiff`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import tifffile

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.attached.exif_folders import Folder, read_folder, write_folder
from adaptsr_cli.io.attached.tiff_tags import make_folders, make_tags
from adaptsr_cli.io.attached.writing import Beside
from adaptsr_cli.io.colour.convert import UNFIT_INK, cmyk_to_srgb
from adaptsr_cli.io.colour.icc import read_space
from adaptsr_cli.io.faults import damaged
from adaptsr_cli.io.formats.kind import Layout, name_channels
from adaptsr_cli.io.pictures import Picture, divide_by_alpha, layers_of, orient, picture_of, quantise, stretch
from adaptsr_cli.io.tolerance import is_tolerant
from adaptsr_cli.units import plural

_SIGNATURES: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAX_BYTES: Final = (1 << 32) - (1 << 26)  # what offsets of 32 bits reach, less some for tags and bad compression
_ORIENTATION, _XMP, _ICC = 274, 700, 34675
_IPTC, _GEO_KEYS, _RESOLUTIONS, _RESOLUTION_UNIT = 33723, 34735, (282, 283), 296
_INCHES: Final = 2
_PER_INCH: Final = {_INCHES: 1.0, 3: 2.54}  # unit -> what makes it pixels an inch
_GEO_SYSTEMS: Final = (3072, 2048)  # keys of the projected and of the geographic system
_LONG, _LONG8 = 4, 16
_JPEG, _DEFLATE = 7, (8, 32946)
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _SEPARATED = 0, 1, 2, 5
_COLOURS: Final = {_MIN_IS_WHITE: 1, _MIN_IS_BLACK: 1, _RGB: 3, _SEPARATED: 4}
_COLOUR_NAMES: Final = {
    0: ("grey", 1), 1: ("grey", 1), 2: ("RGB", 3), 3: ("palette", 1), 5: ("CMYK", 4), 6: ("RGB", 3), 8: ("Lab", 3),
}  # fmt: skip
_PREMULTIPLIED, _STRAIGHT = 1, 2
_ALPHAS: Final = (_PREMULTIPLIED, _STRAIGHT)
_SEPARATE = 2  # the planes of a page one after another
_PILLOWS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946)  # the compressions that Pillow reads on every system
_DNG_VERSION, _SENSOR_DATA = 50706, (32803, 34892)


@dataclass(frozen=True)
class TiffPage:
    """One page of a TIFF, known from its tags alone.

    Attributes:
        index: Its place in the file, thumbnails and masks counted.
        width_px: As displayed.
        height_px: As displayed.
        deep: Whether it has more than 8 bits a channel.
        alpha: Whether it has transparency.
        direct: Whether `read_page` reads it, and not Pillow.
    """

    index: int
    width_px: int
    height_px: int
    deep: bool
    alpha: bool
    direct: bool


def is_tiff(path: Path) -> bool:
    """Whether the file begins as a TIFF or BigTIFF does.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as handle:
        return handle.read(4) in _SIGNATURES


def list_pages(path: Path) -> list[TiffPage]:
    """The pages of a TIFF; reduced copies of a page and transparency masks are none.

    Raises:
        ImageError: Samples without a fixed range (signed, or integers of 32 bits).
        Exception: The file is damaged, of whatever kind tifffile tripped over.
    """
    with tifffile.TiffFile(path) as file:
        pages = [_read_page_facts(page, path) for page in _real_pages(file)]
    if not pages:
        raise ValueError("it has no page")
    return pages


def _real_pages(file: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    pages = [require_page(page) for page in file.pages]
    return [page for page in pages if not (page.is_reduced or page.is_mask)] or pages[:1]


def read_page(path: Path, index: int) -> Picture:
    """Decode a page that is `direct`.

    Returns:
        The page as displayed, uint8, or uint16 over the whole range of 16 bits; CMYK in sRGB.

    Raises:
        ImageError: A kind of colour that is not read here, samples out of range, or missing data.
        Exception: The file is damaged, of whatever kind tifffile tripped over.
    """
    with tifffile.TiffFile(path) as file:
        page = require_page(file.pages[index])
        colours = _COLOURS.get(int(page.photometric))
        if colours is None:
            kind = getattr(page.photometric, "name", str(page.photometric))
            raise ImageError(
                f"cannot read {path}: {kind} of {page.bitspersample} bits is not supported",
                "make it RGB, or 8 bits a channel",
            )
        kinds = [int(kind) for kind in page.extrasamples]
        if page.samplesperpixel - len(kinds) != colours:
            raise ImageError(f"cannot read {path}: {page.samplesperpixel} channels of unknown colours", "make it RGB")
        require_all_segments(page, file.filehandle.size, path)
        samples, remarks = _read_samples(page, path)
        layers = samples[..., :colours]
        if page.photometric == _MIN_IS_WHITE:
            layers = np.iinfo(layers.dtype).max - layers
        icc = page.tags.valueof(_ICC)
        icc = icc if isinstance(icc, bytes) and icc else None
        if page.photometric == _SEPARATED:
            if icc is not None and read_space(icc) not in {"", "CMYK"}:
                remarks, icc = (*remarks, UNFIT_INK), None
            layers, icc = cmyk_to_srgb(layers, icc), None
        place = next((place for place, kind in enumerate(kinds) if kind in _ALPHAS), None)
        if len(kinds) > (place is not None):
            remarks = (*remarks, "has further channels that are no transparency: they are left out")
        if place is not None:
            alpha = samples[..., colours + place, None]
            if kinds[place] == _PREMULTIPLIED:
                layers = divide_by_alpha(layers, alpha)
            layers = np.concatenate([layers, alpha], axis=2)
        return picture_of(orient(layers, _orientation(page)), grey=colours == 1, icc=icc, remarks=remarks)


def _read_samples(page: tifffile.TiffPage, path: Path) -> tuple[AnyArray, tuple[str, ...]]:
    """The samples of a page, (H, W, C) uint8 or uint16 over their whole range, and what to say of them."""
    samples = np.asarray(page.asarray(maxworkers=1))
    if samples.ndim == 2:
        samples = samples[..., None]
    elif page.planarconfig == _SEPARATE and page.samplesperpixel > 1:
        samples = np.moveaxis(samples, 0, 2)  # (C, H, W) -> (H, W, C)
    if samples.dtype.kind == "f":
        return quantise(samples, path), ("its floating-point samples, 0 to 1, are read as 16 bits",)
    if samples.dtype == np.uint8:
        return samples, ()
    return stretch(samples.astype(np.uint16, copy=False), page.bitspersample), ()


def read_layout(path: Path) -> Layout:
    """How the first page of a TIFF is held, and how many pages it has; see `adaptsr_cli.io.formats.kind.Layout`.

    Raises:
        Exception: The file is damaged, of whatever kind tifffile tripped over.
    """
    count = len(list_pages(path))
    with tifffile.TiffFile(path) as file:
        page = require_page(file.pages.first)
        kind = "" if page.dtype is None else {"f": ", floating point", "i": ", signed"}.get(page.dtype.kind, "")
        other = getattr(page.photometric, "name", "unknown").lower()
        colour, own = _COLOUR_NAMES.get(int(page.photometric), (other, 1))
        more = page.samplesperpixel - own
        kinds = [int(extra) for extra in page.extrasamples]
        alpha = bool(kinds) and kinds[0] in _ALPHAS
        packing = getattr(page.compression, "name", str(page.compression)).lower().replace("_", " ")
        details = [
            f"compression {packing}",
            "tiles" if page.is_tiled else "",
            "BigTIFF" if file.is_bigtiff else "",
            "planes" if page.planarconfig == _SEPARATE and page.samplesperpixel > 1 else "",
            plural(more - alpha, "further channel") if more - alpha > 0 else "",
        ]
        icc = page.tags.valueof(_ICC)
        return Layout(
            bits=f"{page.bitspersample} bits{kind}",
            channels=name_channels(colour, alpha=alpha),
            pictures=f"{count} pages" if count > 1 else "",
            icc=icc if isinstance(icc, bytes) else None,
            iptc=_IPTC in page.tags,
            dpi=_read_dpi(page),
            ground=_name_ground(page),
            details=tuple(filter(None, details)),
        )


def _read_dpi(page: tifffile.TiffPage) -> tuple[float, float] | None:
    """Pixels an inch across and down; None where the file does not say."""
    numbers = [page.tags.valueof(tag) for tag in _RESOLUTIONS]
    factor = _PER_INCH.get(page.tags.valueof(_RESOLUTION_UNIT, _INCHES))
    if factor is None or not all(isinstance(number, tuple) and len(number) == 2 and number[1] for number in numbers):
        return None
    across, down = (number[0] / number[1] * factor for number in numbers)
    return across, down


def _name_ground(page: tifffile.TiffPage) -> str:
    """The system of coordinates of a GeoTIFF; empty where the page is none."""
    keys = page.tags.valueof(_GEO_KEYS) or ()
    entries = {keys[place]: keys[place + 3] for place in range(4, len(keys) - 3, 4)}
    codes = (entries[key] for key in _GEO_SYSTEMS if key in entries)
    return next((f"EPSG:{code}" for code in codes), "not named" if keys else "")


def holds_raw(path: Path) -> bool:
    """Whether a TIFF is a camera's raw file: a DNG, or one with the mosaic of a sensor. A damaged one is not."""
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            assert isinstance(page, tifffile.TiffPage)
            below = page.pages or ()
            return _DNG_VERSION in page.tags or any(
                int(getattr(part, "photometric", 0)) in _SENSOR_DATA for part in (page, *below)
            )
    except Exception:  # each damage trips tifffile in its own way
        return False


def has_all_segments(page: tifffile.TiffPage, file_bytes: int) -> bool:
    """Tell whether all strips or tiles of a page lie within the file; tifffile would fill missing ones with zeros."""
    places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    complete = bool(places) and len(page.dataoffsets) == len(page.databytecounts)
    return complete and all(count > 0 and offset + count <= file_bytes for offset, count in places)


def require_all_segments(page: tifffile.TiffPage, file_bytes: int, path: Path) -> None:
    """Refuse a page of which strips or tiles are missing, unless damage is tolerated.

    Raises:
        DamagedImageError: The file is cut off or damaged.
    """
    if not is_tolerant() and not has_all_segments(page, file_bytes):
        raise damaged(path, "pixels are missing")


def packed_segments(path: Path) -> Iterator[tuple[Literal["JPEG", "deflate"], bytes]]:
    """Yield the strips and tiles of a TIFF that are compressed by JPEG, each as a JPEG file, or by zlib.

    Raises:
        Exception: The file is damaged, of whatever kind tifffile tripped over.
    """
    with tifffile.TiffFile(path) as file:
        for page in map(require_page, file.pages):
            if page.compression not in {_JPEG, *_DEFLATE}:
                continue
            tables = page.jpegtables if page.compression == _JPEG else None
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
                file.filehandle.seek(offset)
                data = file.filehandle.read(count)
                if page.compression in _DEFLATE:
                    yield "deflate", data
                else:
                    yield "JPEG", tables[:-2] + data[2:] if tables else data  # marks of end and beginning left out


def read_folders(path: Path, *, strict: bool = False) -> list[Folder]:
    """The tags of each page of `list_pages`, with EXIF and GPS below; what is damaged of them is left out.

    Args:
        path: The file.
        strict: What is damaged of them is an error.

    Raises:
        Exception: The file is damaged, of whatever kind tifffile tripped over.
    """
    with tifffile.TiffFile(path) as file:
        return [_read_folder(file, page.offset, strict=strict) for page in _real_pages(file)]


def read_first_folder(path: Path) -> Folder:
    """The tags of the first page, be it a thumbnail, with EXIF and GPS below.

    Raises:
        Exception: The file is damaged, of whatever kind tifffile tripped over.
    """
    with tifffile.TiffFile(path) as file:
        return _read_folder(file, file.pages.first.offset, strict=False)


def _read_folder(file: tifffile.TiffFile, place: int, *, strict: bool) -> Folder:
    handle = file.filehandle

    def read(place: int, length: int) -> bytes:
        if place + length > handle.size:
            raise struct.error("cut off")
        handle.seek(place)
        return bytes(handle.read(length))

    order = file.byteorder
    return read_folder(read, order, place, big=file.is_bigtiff, strict=strict) or Folder(order)


def read_xmp(path: Path) -> bytes | None:
    """The XMP packet of the first page."""
    with tifffile.TiffFile(path) as file:
        packet = file.pages.first.tags.valueof(_XMP)
    return packet if isinstance(packet, bytes) else None


def write_tiff(path: Path, pictures: Sequence[Picture], besides: Sequence[Beside]) -> None:
    """Write pages of 8 or 16 bits a channel, compressed without loss; a BigTIFF where 4 GiB do not suffice.

    Args:
        path: Where to.
        pictures: The pages.
        besides: What goes with each.
    """
    big = sum(picture.colour.nbytes * 4 // 3 for picture in pictures) > _MAX_BYTES
    folders = make_folders(besides[0].exif)
    with tifffile.TiffWriter(path, bigtiff=big, byteorder="<") as file:
        for number, (picture, beside) in enumerate(zip(pictures, besides, strict=True)):
            layers = layers_of(picture)
            channels = layers.shape[2]
            file.write(
                layers if channels > 1 else layers[..., 0],
                photometric="minisblack" if channels <= 2 else "rgb",
                planarconfig="contig" if channels > 1 else None,
                extrasamples=("unassalpha",) if channels in {2, 4} else None,
                compression="adobe_deflate",
                predictor=True,
                iccprofile=picture.icc,
                subfiletype=2 if len(pictures) > 1 else 0,
                **tags_beside(beside, folders if number == 0 else (), big=big),
            )
    append_folders(path, folders)


def tags_beside(beside: Beside, folders: Iterable[int], *, big: bool) -> dict[str, Any]:
    """What goes with a page, as arguments of tifffile; `append_folders` is to follow."""
    extra: list[Any] = list(make_tags(beside.exif, beside.attached, beside.xmp))
    # tifffile writes no folder and no tag that says so: the tag before holds the place until both are known.
    extra += [(tag - 1, _LONG8 if big else _LONG, 1, 0, True) for tag in folders]
    density = beside.tiff_density()
    resolution = {} if density is None else {"resolution": density[:2], "resolutionunit": density[2]}
    return {"extratags": extra, "metadata": None, "software": False, "maxworkers": 1, **resolution}


def append_folders(path: Path, folders: Mapping[int, Folder]) -> None:
    """Write folders behind everything else, and let the first page point at them.

    Args:
        path: A file whose first page was written with `tags_beside`.
        folders: Tag -> folder.
    """
    for tag, folder in folders.items():
        _append_folder(path, tag, folder)


def _append_folder(path: Path, tag: int, folder: Folder) -> None:
    with tifffile.TiffFile(path, mode="r+") as file:
        handle = file.filehandle
        offset = handle.size + handle.size % 2  # folders begin at whole words
        handle.seek(offset)
        handle.write(write_folder(folder, offset, big=file.is_bigtiff))
        entry = file.pages.first.tags[tag - 1].overwrite(offset)
        handle.seek(entry.offset)
        handle.write(tag.to_bytes(2, "little"))


def require_page(page: tifffile.TiffPage | tifffile.TiffFrame) -> tifffile.TiffPage:
    """Narrows the type: all pages have tags of their own unless asked for otherwise."""
    assert isinstance(page, tifffile.TiffPage)
    return page


def _read_page_facts(page: tifffile.TiffPage, path: Path) -> TiffPage:
    kind = page.dtype
    if kind is not None and (kind.kind in "ic" or (kind.kind != "f" and kind.itemsize > 2)):
        raise ImageError(
            f"cannot read {path}: its samples are {kind.name} numbers, which have no fixed range",
            "make it 8- or 16-bit",
        )
    width_px, height_px = int(page.imagewidth), int(page.imagelength)
    if _orientation(page) >= 5:
        width_px, height_px = height_px, width_px
    deep = kind is not None and (kind.itemsize == 2 or kind.kind == "f")
    extra = [int(sample) for sample in page.extrasamples]
    alpha = any(sample in _ALPHAS for sample in extra)
    plain = kind == np.uint8 and page.bitspersample == 8 and int(page.photometric) in _COLOURS
    odd = (
        (page.planarconfig == _SEPARATE and page.samplesperpixel > 1)
        or int(page.compression) not in _PILLOWS
        or (extra and not alpha)
        or len(extra) > 1
        or (extra and int(page.photometric) == _SEPARATED)
    )
    return TiffPage(page.index, width_px, height_px, deep, alpha, direct=deep or bool(plain and odd))


def _orientation(page: tifffile.TiffPage) -> int:
    value = page.tags.valueof(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
