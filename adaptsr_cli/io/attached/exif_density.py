"""Resolution in EXIF: read, multiplied in place, and added where a file has no other place for it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from adaptsr_cli.io.exif import EXIF_PREFIX

_ACROSS, _DOWN, _UNIT = 0x011A, 0x011B, 0x0128
_RATIONAL, _SHORT = 5, 3
_INCH, _CENTIMETRE = 2, 3
_CM_PER_INCH: Final = 2.54
_DENOMINATOR: Final = 10_000


def read_density(exif: bytes) -> tuple[float, float] | None:
    """Pixels an inch across and down; None where EXIF does not say."""
    found: dict[int, float] = {}
    try:
        order, entries = _main_entries(exif)
        for tag, place in entries:
            if tag == _UNIT:
                found[tag] = struct.unpack_from(f"{order}H", exif, place + 8)[0]
            elif tag in {_ACROSS, _DOWN}:
                above, below = struct.unpack_from(f"{order}II", exif, _value_place(exif, order, place))
                found[tag] = above / below
    except (struct.error, ZeroDivisionError):
        return None
    if _ACROSS not in found or _DOWN not in found:
        return None
    factor = _CM_PER_INCH if found.get(_UNIT, _INCH) == _CENTIMETRE else 1.0
    return found[_ACROSS] * factor, found[_DOWN] * factor


def scale_density(exif: bytes, factor: float) -> bytes:
    """The EXIF with its resolution, if it has one, multiplied."""
    patched = bytearray(exif)
    try:
        order, entries = _main_entries(exif)
        for tag, place in entries:
            if tag in {_ACROSS, _DOWN} and struct.unpack_from(f"{order}HHI", exif, place)[1:] == (_RATIONAL, 1):
                at = _value_place(exif, order, place)
                above, below = struct.unpack_from(f"{order}II", exif, at)
                if below:
                    struct.pack_into(f"{order}II", patched, at, *_fraction(above / below * factor))
    except struct.error:
        return exif
    return bytes(patched)


def add_density(exif: bytes | None, across: float, down: float) -> bytes:
    """The EXIF with a resolution in pixels an inch; as it is where it has one, new where there is none.

    The folder is written anew behind the rest, so that nothing else moves.
    """
    if exif is None:
        exif = EXIF_PREFIX + b"II*\0" + struct.pack("<IHI", 8, 0, 0)
    if read_density(exif) is not None:
        return exif
    try:
        order, entries = _main_entries(exif)
        kept = {tag: bytes(exif[place : place + 12]) for tag, place in entries if tag not in {_ACROSS, _DOWN, _UNIT}}
    except struct.error:
        return exif
    start = len(EXIF_PREFIX)
    exif += bytes((len(exif) - start) % 2)
    place = len(exif) - start
    table_bytes = 2 + 12 * (len(kept) + 3) + 4
    values = struct.pack(f"{order}IIII", *_fraction(across), *_fraction(down))
    for tag, at in ((_ACROSS, place + table_bytes), (_DOWN, place + table_bytes + 8)):
        kept[tag] = struct.pack(f"{order}HHII", tag, _RATIONAL, 1, at)
    kept[_UNIT] = struct.pack(f"{order}HHIHH", _UNIT, _SHORT, 1, _INCH, 0)
    table = struct.pack(f"{order}H", len(kept)) + b"".join(kept[tag] for tag in sorted(kept)) + bytes(4)
    return exif[: start + 4] + struct.pack(f"{order}I", place) + exif[start + 8 :] + table + values


def _main_entries(exif: bytes) -> tuple[str, Iterator[tuple[int, int]]]:
    """Byte order, and tag and place of the entries of the main folder.

    Raises:
        struct.error: It cannot be read.
    """
    start = len(EXIF_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(exif[start : start + 2])
    if order is None or not exif.startswith(EXIF_PREFIX):
        raise struct.error("no byte order")
    folder = start + struct.unpack_from(f"{order}I", exif, start + 4)[0]
    count = struct.unpack_from(f"{order}H", exif, folder)[0]
    places = [folder + 2 + 12 * index for index in range(count)]
    return order, iter([(struct.unpack_from(f"{order}H", exif, place)[0], place) for place in places])


def _value_place(exif: bytes, order: str, place: int) -> int:
    return len(EXIF_PREFIX) + int(struct.unpack_from(f"{order}I", exif, place + 8)[0])


def _fraction(number: float) -> tuple[int, int]:
    if number == int(number):
        return int(number), 1
    return round(number * _DENOMINATOR), _DENOMINATOR
