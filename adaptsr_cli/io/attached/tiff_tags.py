"""Tags of TIFF files that speak of the picture, and EXIF blocks made of them and into them."""

from __future__ import annotations

import struct
from typing import Any, Final

from adaptsr_cli.io.attached.exif_folders import Folder, pick, read_block, swap, write_block
from adaptsr_cli.io.attached.geo import GEO_TAGS, GeoTag
from adaptsr_cli.io.attached.photoshop import split_iptc
from adaptsr_cli.io.attached.record import Attachments, Density, make_density
from adaptsr_cli.io.attached.xmp import make_true
from adaptsr_cli.io.exif import EXIF_PREFIX

_DESCRIPTION: Final = 0x010E
_ORIENTATION: Final = 0x0112
_ACROSS, _DOWN, _UNIT = 0x011A, 0x011B, 0x0128
_CENTIMETRE: Final = 3
_XMP, _IPTC, _RESOURCES = 700, 33723, 34377
# Of a TIFF: names, texts, dates, rating, and what Windows keeps. Private tags may speak of anything.
_PHOTO_TAGS: Final = frozenset(
    {0x010D, _DESCRIPTION, 0x010F, 0x0110, 0x011D, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298, 0x9003}
    | set(range(0x9C9B, 0x9CA0))
)
# Of EXIF in other files: all but what a TIFF itself says of its pixels, pointers, and what makes it a raw file.
_LAYOUT_TAGS: Final = frozenset(
    {*range(0x00FE, 0x010D), 0x0111, _ORIENTATION, *range(0x0115, 0x011D), 0x0128, 0x0129, 0x012D, 0x013D}
    | {*range(0x013E, 0x015C), *range(0x0200, 0x0215), _XMP, _IPTC, _RESOURCES, 34675, 37724, *GEO_TAGS}
)
_FIRST_RAW_TAG: Final = 0xC612
# What programs say there of the numbers of pixels, pages and channels.
_STALE_DESCRIPTIONS: Final = (b'{"shape"', b"ImageJ=")
_OME: Final = b"<OME "

TiffTag = tuple[int, int, int, Any, bool]
"""Tag, TIFF type, count, value, and whether the first page alone has it, as tifffile takes them."""


def exif_of(folder: Folder) -> bytes | None:
    """An EXIF block of what the tags say of the photograph; None if nothing."""
    kept = pick(folder, lambda tag: tag in _PHOTO_TAGS)
    description = kept.entries.get(_DESCRIPTION)
    if description is not None and _is_stale(description.data):
        del kept.entries[_DESCRIPTION]
    return write_block(kept, EXIF_PREFIX) if kept.entries or kept.below else None


def _is_stale(description: bytes) -> bool:
    return description.startswith(_STALE_DESCRIPTIONS) or _OME in description[:4096]


def attachments_of(folder: Folder) -> Attachments:
    """What the other tags say."""
    turned = _number(folder, _ORIENTATION) not in {None, 1}
    xmp = folder.entries[_XMP].data.rstrip(b"\0") if _XMP in folder.entries else None
    block = folder.entries[_RESOURCES].data if _RESOURCES in folder.entries else b""
    inner, resources = split_iptc(block)
    iptc = folder.entries[_IPTC].data if _IPTC in folder.entries else inner
    return Attachments(
        xmp=make_true(xmp, turned=turned) if xmp else None,
        iptc=iptc or None,
        resources=resources,
        density=_read_density(folder),
        # It says where the stored rows and columns lie, not those that are shown.
        geo=() if turned else tuple(_geo_tag(tag, folder) for tag in GEO_TAGS if tag in folder.entries),
    )


def has_lost_place(folder: Folder) -> bool:
    """Whether the georeference is left out because the picture is stored turned."""
    return _number(folder, _ORIENTATION) not in {None, 1} and any(tag in folder.entries for tag in GEO_TAGS)


def _read_density(folder: Folder) -> Density | None:
    try:
        across, down = (_fraction(folder, tag) for tag in (_ACROSS, _DOWN))
    except (KeyError, struct.error, ZeroDivisionError):
        return None
    unit = _number(folder, _UNIT)
    factor = 2.54 if unit == _CENTIMETRE else 1.0
    return make_density(across * factor, down * factor, absolute=unit != 1)


def _fraction(folder: Folder, tag: int) -> float:
    above, below = struct.unpack_from(f"{folder.order}II", folder.entries[tag].data)
    return float(above / below)


def _number(folder: Folder, tag: int) -> int | None:
    entry = folder.entries.get(tag)
    code = {3: "H", 4: "I"}.get(entry.kind) if entry else None
    if entry is None or code is None or entry.count != 1:
        return None
    return int(struct.unpack_from(folder.order + code, entry.data)[0])


def _geo_tag(tag: int, folder: Folder) -> GeoTag:
    entry = folder.entries[tag]
    code = {3: "H", 4: "I", 11: "f", 12: "d"}.get(entry.kind)
    value: Any = entry.data
    if code is not None:
        value = struct.unpack(f"{folder.order}{entry.count}{code}", entry.data)
    return tag, entry.kind, entry.count, value


def make_tags(exif: bytes | None, attached: Attachments, xmp: bytes | None) -> list[TiffTag]:
    """The tags of a page of a TIFF in the byte order of Intel; without folders, see `make_folders`."""
    tags: list[TiffTag] = []
    folder = _read(exif)
    if folder is not None:
        tags += [(tag, entry.kind, entry.count, entry.data, True) for tag, entry in folder.entries.items()]
    for tag, kind, data in ((_XMP, 1, xmp), (_IPTC, 7, attached.iptc), (_RESOURCES, 1, attached.resources)):
        if data:
            tags.append((tag, kind, len(data), data, True))
    return tags + [(tag, kind, count, value, True) for tag, kind, count, value in attached.geo]


def make_folders(exif: bytes | None) -> dict[int, Folder]:
    """Tag -> folder that it points at, in the byte order of Intel."""
    folder = _read(exif)
    return {} if folder is None else folder.below


def _read(exif: bytes | None) -> Folder | None:
    folder = read_block(exif, EXIF_PREFIX) if exif else None
    if folder is None:
        return None
    return swap(pick(folder, lambda tag: tag not in _LAYOUT_TAGS and tag < _FIRST_RAW_TAG and tag > 1), "<")
