"""Folders of EXIF fields, read from TIFF files and EXIF blocks and written into either, values to the byte.

A maker's note may refer to byte offsets of the file that it stands in. Where it is moved these are corrected, if they
are of the usual kind: a folder of fields that count from the beginning of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

EXIF_FOLDER, GPS_FOLDER, INTEROPERABILITY_FOLDER = 0x8769, 0x8825, 0xA005
MAKER_NOTE: Final = 0x927C
_USER_COMMENT: Final = 0x9286
_UNICODE: Final = b"UNICODE\0"
# Tag of a folder, 0 for the main one -> tags of the folders that it may point at; no other can be, in a circle least.
_BELOW: Final = {0: (EXIF_FOLDER, GPS_FOLDER), EXIF_FOLDER: (INTEROPERABILITY_FOLDER,)}
# Type of a field -> bytes of a value, and of the numbers that it is made of.
_SIZES: Final = {
    **dict.fromkeys((1, 2, 6, 7, 129), (1, 1)),
    **dict.fromkeys((3, 8), (2, 2)),
    **dict.fromkeys((4, 9, 11, 13), (4, 4)),
    **dict.fromkeys((5, 10), (8, 4)),
    **dict.fromkeys((12, 16, 17, 18), (8, 8)),
}
_POINTERS: Final = frozenset(tag for tags in _BELOW.values() for tag in tags)
_MOST_ENTRIES: Final = 4096
_MOST_BYTES: Final = 1 << 26  # of one value

Source = Callable[[int, int], bytes]
"""Reads so many bytes from a place; raises ``struct.error`` where there are fewer."""


@dataclass(frozen=True)
class Entry:
    """A field.

    Attributes:
        kind: Its type, as TIFF counts them.
        count: How many values.
        data: The values in the byte order of the folder.
        offset: Where they stood.
    """

    kind: int
    count: int
    data: bytes
    offset: int = 0


@dataclass
class Folder:
    """Fields, and folders below.

    Attributes:
        order: Byte order for ``struct``.
        entries: Tag -> field.
        below: Tag -> folder that it points at.
    """

    order: str
    entries: dict[int, Entry] = field(default_factory=dict)
    below: dict[int, Folder] = field(default_factory=dict)


def read_block(exif: bytes, prefix: bytes) -> Folder | None:
    """The main folder of an EXIF block; None where it cannot be read."""
    data = exif.removeprefix(prefix)
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return None

    def read(place: int, length: int) -> bytes:
        if place + length > len(data):
            raise struct.error("cut off")
        return data[place : place + length]

    return read_folder(read, order, struct.unpack_from(f"{order}I", data, 4)[0])


def read_folder(
    read: Source, order: str, place: int, *, big: bool = False, of: int = 0, strict: bool = False
) -> Folder | None:
    """A folder and those below; what is damaged in it is left out.

    Args:
        read: Reads the file.
        order: Byte order for ``struct``.
        place: Where the folder begins.
        big: The file is a BigTIFF.
        of: The tag that points at it; 0 for the main one.
        strict: What is damaged is an error.

    Raises:
        struct.error: Something lies outside of the file, and `strict`.
    """
    folder = Folder(order)
    head, width, inline, wide = ("Q", 20, 8, "Q") if big else ("H", 12, 4, "I")
    try:
        count = struct.unpack(order + head, read(place, struct.calcsize(order + head)))[0]
    except struct.error:
        if strict:
            raise
        return None
    start = place + struct.calcsize(order + head)
    for index in range(min(count, _MOST_ENTRIES)):
        try:
            raw = read(start + width * index, width)
            tag, kind = struct.unpack_from(f"{order}HH", raw)
            values = struct.unpack_from(order + wide, raw, 4)[0]
            length = _SIZES[kind][0] * values
            if length > _MOST_BYTES:
                continue
            at = start + width * index + width - inline
            if length > inline:
                at = struct.unpack_from(order + wide, raw, width - inline)[0]
            data = read(at, length)
        except KeyError:
            continue
        except struct.error:
            if strict:
                raise
            continue
        if tag in _POINTERS and tag not in _BELOW.get(of, ()):
            continue  # a folder that cannot be here
        if tag in _POINTERS:
            if length not in {4, 8}:
                continue
            below = struct.unpack(order + ("I" if length == 4 else "Q"), data)[0]
            found = read_folder(read, order, below, big=big, of=tag, strict=strict)
            if found is not None and found.entries and tag not in folder.below:
                folder.below[tag] = found
        else:  # of a tag that comes twice the first is meant: tifffile puts a second description behind the user's
            folder.entries.setdefault(tag, Entry(kind, values, data, at))
    return folder


def add_comment(exif: bytes | None, prefix: bytes, comment: str) -> bytes | None:
    """An EXIF block with a comment of the user.

    Args:
        exif: A block, or None for a new one.
        prefix: What a block begins with.
        comment: The comment.

    Returns:
        The block written anew; None where `exif` cannot be read or has a comment already.
    """
    main = Folder("<") if exif is None else read_block(exif, prefix)
    if main is None:
        return None
    below = main.below.get(EXIF_FOLDER, Folder(main.order))
    if _USER_COMMENT in below.entries:
        return None
    data = _UNICODE + comment.encode("utf-16-le" if main.order == "<" else "utf-16-be", "replace")
    entries = below.entries | {_USER_COMMENT: Entry(7, len(data), data)}
    folders = main.below | {EXIF_FOLDER: Folder(main.order, entries, below.below)}
    return write_block(Folder(main.order, main.entries, folders), prefix)


def pick(folder: Folder, wanted: Callable[[int], bool]) -> Folder:
    """The main folder with the fields that are wanted, and the folders below."""
    return Folder(folder.order, {tag: entry for tag, entry in folder.entries.items() if wanted(tag)}, folder.below)


def swap(folder: Folder, order: str) -> Folder:
    """The folder in another byte order."""
    if order == folder.order:
        return folder
    entries = {tag: _swap(tag, entry, folder.order) for tag, entry in folder.entries.items()}
    return Folder(order, entries, {tag: swap(below, order) for tag, below in folder.below.items()})


def _swap(tag: int, entry: Entry, order: str) -> Entry:
    size = _SIZES[entry.kind][1]
    data = entry.data
    if tag == _USER_COMMENT and data.startswith(_UNICODE) and len(data) % 2 == 0:
        data = _UNICODE + _swap_items(data[len(_UNICODE) :], 2)  # its characters follow the order of the file
    elif size > 1:
        data = _swap_items(data, size)
    return Entry(entry.kind, entry.count, data, entry.offset)


def _swap_items(data: bytes, size: int) -> bytes:
    return b"".join(data[start : start + size][::-1] for start in range(0, len(data), size))


def write_block(folder: Folder, prefix: bytes) -> bytes:
    """An EXIF block of its own."""
    head = b"II*\0" if folder.order == "<" else b"MM\0*"
    return prefix + head + struct.pack(f"{folder.order}I", 8) + write_folder(folder, 8)


def write_folder(folder: Folder, place: int, *, big: bool = False) -> bytes:
    """The bytes of a folder and those below, to stand at a place of a file.

    Args:
        folder: What to write.
        place: Where its first byte will stand.
        big: The file is a BigTIFF.

    Raises:
        struct.error: It would end behind what offsets of 32 bits reach.
    """
    order = folder.order
    head, inline, wide = ("Q", 8, "Q") if big else ("H", 4, "I")
    tags = sorted({*folder.entries, *folder.below})
    table_bytes = struct.calcsize(order + head) + (4 + 2 * inline) * len(tags) + inline
    table = struct.pack(order + head, len(tags))
    values = b""
    for tag in tags:
        at = place + table_bytes + len(values)
        if tag in folder.below:
            content = write_folder(folder.below[tag], at, big=big)
            table += struct.pack(f"{order}HH{wide}{wide}", tag, 16 if big else 4, 1, at)
        else:
            entry = folder.entries[tag]
            content = entry.data
            table += struct.pack(f"{order}HH{wide}", tag, entry.kind, entry.count)
            if len(content) <= inline:
                table += content.ljust(inline, b"\0")
                continue
            if tag == MAKER_NOTE:
                content = move_maker_note(content, order, entry.offset, at)
            table += struct.pack(order + wide, at)
        values += content + bytes(len(content) % 2)  # values begin at whole words
    return table + bytes(inline) + values


def field_values(folder: Folder) -> Mapping[int, tuple[int, int, bytes]]:
    """Tag -> type, count and bytes of the fields that stand in the folder itself."""
    return {tag: (entry.kind, entry.count, entry.data) for tag, entry in folder.entries.items()}


def move_maker_note(note: bytes, order: str, old: int, new: int) -> bytes:
    """A maker's note at another place of the file, its offsets corrected where they count from the file's beginning.

    Args:
        note: The note.
        order: Byte order of the file; the note may have the other one.
        old: Where it stood.
        new: Where it will stand.
    """
    for start in _FOLDER_STARTS:
        if not note.startswith(start):
            continue
        for guess in (order, "<" if order == ">" else ">"):
            places = _offset_places(note, len(start), guess, old)
            if places:
                moved = bytearray(note)
                for place, offset in places:
                    struct.pack_into(f"{guess}I", moved, place, offset + new - old)
                footer = struct.unpack_from(f"{guess}I", note, len(note) - 4)[0]
                if note[-8:-4] in {b"II*\0", b"MM\0*"} and footer == old:
                    struct.pack_into(f"{guess}I", moved, len(note) - 4, new)  # Canon says where it stood
                return bytes(moved)
    return note


# What stands before the folder; other makers count from the note's own beginning and need nothing.
_FOLDER_STARTS: Final = (
    b"SONY DSC \0\0\0",
    b"SONY CAM \0\0\0",
    b"Panasonic\0\0\0",
    b"Nikon\0\1\0",
    b"OLYMP\0\1\0",
    b"OLYMP\0\2\0",
    b"EPSON\0\1\0",
    b"AOC\0MM",
    b"AOC\0II",
    b"AOC\0\0\0",
    b"QVC\0\0\0",
    b"",
)


def _offset_places(note: bytes, start: int, order: str, old: int) -> list[tuple[int, int]]:
    """Where offsets stand in a folder within a note, and what they are; none if they are not of the file."""
    found: list[tuple[int, int]] = []
    try:
        count = struct.unpack_from(f"{order}H", note, start)[0]
        if not 0 < count <= 512:
            return []
        for index in range(count):
            place = start + 2 + 12 * index
            _, kind, values, offset = struct.unpack_from(f"{order}HHII", note, place)
            if kind not in _SIZES:
                return []
            length = _SIZES[kind][0] * values
            if length <= 4:
                continue
            if not old <= offset <= old + len(note) - min(length, len(note)):
                return []
            found.append((place + 8, offset))
    except struct.error:
        return []
    return found
