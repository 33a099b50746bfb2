"""Segments of JPEG files that say something of the picture: XMP in one or several parts, IPTC, comments, EXIF."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Final

from adaptsr_cli.io.exif import EXIF_PREFIX

_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENDED: Final = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP: Final = b"Photoshop 3.0\0"
_JFIF: Final = b"JFIF\0"
_APP0, _APP1, _APP13, _COMMENT = 0xE0, 0xE1, 0xED, 0xFE
_START_OF_SCAN, _END = 0xDA, 0xD9
_NAME_BYTES: Final = 32
_MOST_BYTES: Final = 65_533
MOST_XMP_BYTES: Final = _MOST_BYTES - len(_XMP) - 2000
"""What the first packet may take; the rest is for what names a gain map."""

_MOST_EXTENDED: Final = 1 << 28


@dataclass(frozen=True)
class JpegTexts:
    """What segments say.

    Attributes:
        xmp: The first packet.
        extended: The second one.
        resources: Photoshop's resources, IPTC among them.
        comments: Comments.
        exif: EXIF with its prefix; empty if there is none.
        density: Unit (0 none, 1 inch, 2 centimetre), and pixels across and down.
    """

    xmp: bytes | None
    extended: bytes | None
    resources: bytes
    comments: tuple[bytes, ...]
    exif: bytes
    density: tuple[int, int, int] | None


def read_segments(file: BinaryIO) -> JpegTexts:
    """Read what stands before the pixels of a JPEG file."""
    xmp: bytes | None = None
    resources = exif = b""
    density: tuple[int, int, int] | None = None
    comments = []
    parts: dict[bytes, dict[int, bytes]] = {}  # name of the extended packet -> place -> part
    for marker, content in _segments(file):
        if marker == _APP0 and content.startswith(_JFIF) and len(content) >= 12:
            density = density or struct.unpack_from(">BHH", content, 7)
        elif marker == _APP1 and content.startswith(EXIF_PREFIX):
            exif += content.removeprefix(EXIF_PREFIX) if exif else content
        elif marker == _COMMENT:
            comments.append(content)
        elif marker == _APP13 and content.startswith(_PHOTOSHOP):
            resources += content[len(_PHOTOSHOP) :]
        elif marker == _APP1 and content.startswith(_XMP):
            xmp = xmp or content[len(_XMP) :]
        elif marker == _APP1 and content.startswith(_EXTENDED):
            name, rest = content[len(_EXTENDED) :][:_NAME_BYTES], content[len(_EXTENDED) + _NAME_BYTES :]
            if len(rest) >= 8:
                parts.setdefault(name, {})[struct.unpack_from(">II", rest)[1]] = rest[8:]
    return JpegTexts(xmp, _join_parts(xmp, parts), resources, tuple(comments), exif, density)


def _join_parts(xmp: bytes | None, parts: dict[bytes, dict[int, bytes]]) -> bytes | None:
    """The extended packet that the first one names; None where it names none or a part is missing."""
    named = next((found for name, found in parts.items() if xmp and name in xmp), None)
    if named is None:
        return None
    joined = b""
    for place, part in sorted(named.items()):
        if place != len(joined) or place + len(part) > _MOST_EXTENDED:
            return None
        joined += part
    return joined


def _segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker and content of the segments before the pixels."""
    file.seek(2)
    while True:
        head = file.read(2)
        while head[1:] == b"\xff":  # fill bytes
            head = head[1:] + file.read(1)
        if len(head) < 2 or head[0] != 0xFF or head[1] in {_START_OF_SCAN, _END}:
            return
        length = file.read(2)
        if len(length) < 2:
            return
        content = file.read(struct.unpack(">H", length)[0] - 2) if length >= b"\0\2" else b""
        yield head[1], content


def drop_filling(data: bytes) -> bytes:
    """A JPEG file without zeros and fill bytes between the pixels and the end mark, and without what follows that."""
    file = BytesIO(data)
    for _ in _segments(file):
        pass
    end = data.find(b"\xff\xd9", file.tell())  # within the pixels each 0xFF has a zero behind it
    return data if end < 0 else data[:end].rstrip(b"\0\xff") + b"\xff\xd9"


def pack_segments(
    *,
    exif: bytes | None,
    xmp: bytes | None,
    extended: bytes | None,
    extended_name: bytes,
    resources: bytes,
    comments: tuple[bytes, ...],
) -> bytes:
    """The segments of a JPEG file, each in as many as it takes.

    Args:
        exif: EXIF with its prefix. If it is long it goes over several segments, which ExifTool and Pillow join.
        xmp: The first packet, of at most `MOST_XMP_BYTES`.
        extended: The second one.
        extended_name: As the first packet calls it.
        resources: Photoshop's resources, IPTC among them.
        comments: Comments.
    """
    packed = _split(_APP1, EXIF_PREFIX, exif.removeprefix(EXIF_PREFIX)) if exif else b""
    if xmp:
        packed += _segment(_APP1, _XMP + xmp)
    if extended:
        most = _MOST_BYTES - len(_EXTENDED) - _NAME_BYTES - 8
        for place in range(0, len(extended), most):
            head = _EXTENDED + extended_name + struct.pack(">II", len(extended), place)
            packed += _segment(_APP1, head + extended[place : place + most])
    if resources:
        packed += _split(_APP13, _PHOTOSHOP, resources)
    return packed + b"".join(_segment(_COMMENT, comment[:_MOST_BYTES]) for comment in comments)


def set_jfif_density(file: BinaryIO, density: bytes) -> None:
    """Write unit and resolution, 5 bytes, into the JFIF segment that a file begins with."""
    file.seek(0)
    assert file.read(11)[6:] == _JFIF
    file.seek(13)
    file.write(density)


def _split(marker: int, name: bytes, content: bytes) -> bytes:
    most = _MOST_BYTES - len(name)
    return b"".join(
        _segment(marker, name + content[place : place + most]) for place in range(0, max(1, len(content)), most)
    )


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
