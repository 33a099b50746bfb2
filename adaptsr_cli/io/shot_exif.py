"""Time and focal length of a photograph, read from its header alone.

Own code, since Pillow opens no raw files: it knows neither the heads of Olympus and Panasonic nor most makers' pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

from adaptsr_cli.io.exif import EXIF_PREFIX
from adaptsr_cli.io.file_kinds import require_regular

_MAKER: Final = 0x010F
_MODEL: Final = 0x0110
_SOFTWARE: Final = 0x0131
_POSITION_FOLDER: Final = 0x8825
_EXIF_FOLDER: Final = 0x8769
_TAKEN: Final = 0x9003
_FRACTION: Final = 0x9291
_FOCAL: Final = 0x920A
_FOCAL_35: Final = 0xA405
_WANTED: Final = frozenset(
    {_MAKER, _MODEL, _SOFTWARE, _EXIF_FOLDER, _POSITION_FOLDER, _TAKEN, _FRACTION, _FOCAL, _FOCAL_35}
)
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8, 13: 4}
_TIFF_HEADS: Final = frozenset({b"II*\0", b"MM\0*", b"IIRO", b"IIU\0"})  # Olympus and Panasonic have their own
_MOST_TEXT: Final = 200
_HEAD_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class ShotFacts:
    """What a camera wrote beside the pixels; None where it wrote nothing legible.

    Attributes:
        taken: Local time of the camera, with its fraction of a second.
        focal_mm: Focal length as it is.
        focal_35_mm: Focal length that gives the same view on 24 x 36 mm.
        camera: Model.
        maker: Who makes the camera.
        software: What wrote the file last.
        has_position: Whether it says where on Earth it was taken.
    """

    taken: datetime | None = None
    focal_mm: float | None = None
    focal_35_mm: float | None = None
    camera: str | None = None
    maker: str | None = None
    software: str | None = None
    has_position: bool = False


def read_shot_facts(path: Path) -> ShotFacts:
    """Read the header of a JPEG, PNG, TIFF or a raw file built like one (DNG, NEF, CR2, ARW).

    A file of another kind, or one that is damaged, has no facts; whether it is a photograph at all is found out when
    its pixels are read.
    """
    try:
        require_regular(path)
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if head[:4] in _TIFF_HEADS:
                # Its folders may lie anywhere, behind the pixels too.
                with mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
                    return _parse(mapped)
    except OSError:
        return ShotFacts()
    exif = find_exif(head)
    return ShotFacts() if exif is None else parse_shot_facts(exif)


def find_exif(head: bytes) -> bytes | None:
    """The EXIF in the beginning of a file, from its byte order mark on."""
    if head[:4] in _TIFF_HEADS:
        return head
    if head[:2] == b"\xff\xd8":
        return _find_in_jpeg(head)
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        place = 8
        while place + 8 <= len(head):
            length, kind = struct.unpack_from(">I4s", head, place)
            if kind == b"eXIf":
                return head[place + 8 : place + 8 + length]
            place += 12 + length
    return None


def _find_in_jpeg(head: bytes) -> bytes | None:
    place = 2
    while place + 4 <= len(head) and head[place] == 0xFF:
        marker, length = struct.unpack_from(">BH", head, place + 1)
        if marker == 0xDA:
            return None
        content = head[place + 4 : place + 2 + length]
        if marker == 0xE1 and content.startswith(EXIF_PREFIX):
            return content[len(EXIF_PREFIX) :]
        place += 2 + length
    return None


def parse_shot_facts(exif: bytes) -> ShotFacts:
    """Read EXIF, with or without its prefix.

    Args:
        exif: The bytes.
    """
    return _parse(exif.removeprefix(EXIF_PREFIX))


def _parse(exif: bytes | mmap) -> ShotFacts:
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    found: dict[int, object] = {}
    if order is not None:
        try:
            main = dict(_read_folder(exif, order, struct.unpack_from(f"{order}I", exif, 4)[0]))
            found |= main
            below = main.get(_EXIF_FOLDER)
            if isinstance(below, int):
                found |= dict(_read_folder(exif, order, below))
        except (struct.error, ZeroDivisionError, UnicodeDecodeError):
            pass  # cut off; what was legible is used
    focal, focal_35 = found.get(_FOCAL), found.get(_FOCAL_35)
    camera, maker, software = (
        text if isinstance(text := found.get(tag), str) and text else None for tag in (_MODEL, _MAKER, _SOFTWARE)
    )
    return ShotFacts(
        taken=_read_time(found.get(_TAKEN), found.get(_FRACTION)),
        focal_mm=float(focal) if isinstance(focal, int | float) and focal > 0 else None,
        focal_35_mm=float(focal_35) if isinstance(focal_35, int | float) and focal_35 > 0 else None,
        camera=camera,
        maker=maker,
        software=software,
        has_position=_POSITION_FOLDER in found,
    )


def _read_folder(exif: bytes | mmap, order: str, place: int) -> Iterator[tuple[int, object]]:
    for entry in range(struct.unpack_from(f"{order}H", exif, place)[0]):
        offset = place + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(f"{order}HHI", exif, offset)
        if tag not in _WANTED or kind not in _SIZES:
            continue
        size = _SIZES[kind] * count
        at = offset + 8 if size <= 4 else struct.unpack_from(f"{order}I", exif, offset + 8)[0]
        if kind == 2:
            yield tag, exif[at : at + min(count, _MOST_TEXT)].split(b"\0")[0].decode("ascii", "replace").strip()
        elif kind in {3, 4, 13} and count == 1:
            yield tag, struct.unpack_from(order + {3: "H", 4: "I", 13: "I"}[kind], exif, at)[0]
        elif kind == 5 and count == 1:
            above, below = struct.unpack_from(f"{order}II", exif, at)
            if below:
                yield tag, above / below


def _read_time(text: object, fraction: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        taken = datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    if isinstance(fraction, str) and fraction.isdigit():
        taken += timedelta(seconds=int(fraction) / 10 ** len(fraction))
    return taken
