"""Photoshop's resources, in which JPEG and TIFF keep IPTC and what Adobe's programs say of a picture."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

_IPTC: Final = 0x0404
_RESOLUTION: Final = 0x03ED
# What describes the old pixels or is kept elsewhere: layers, guides, thumbnails, ICC, slices, EXIF, XMP.
_STALE: Final = frozenset(
    {0x0400, 0x0402, 0x0408, 0x0409, 0x040C, 0x040F, 0x0410, 0x041A, 0x0422, 0x0423, 0x0424, 0x042D, 0x0430, 0x043C}
)
_SIGNATURES: Final = (b"8BIM", b"AgHg", b"DCSR", b"MeSa", b"PHUT")


@dataclass(frozen=True)
class Resource:
    """A resource.

    Attributes:
        signature: Whose it is.
        kind: What it is.
        name: Its name with the length before it, padded.
        data: Its content.
    """

    signature: bytes
    kind: int
    name: bytes
    data: bytes


def split_iptc(block: bytes) -> tuple[bytes | None, bytes | None]:
    """Split a block of resources into the IPTC record and the others that still hold for a larger picture.

    Returns:
        IPTC and the others; None for what there is none of.
    """
    found = list(_parse(block))
    iptc = b"".join(resource.data for resource in found if resource.kind == _IPTC)
    others = _join(resource for resource in found if resource.kind != _IPTC and resource.kind not in _STALE)
    return iptc or None, others or None


def join_iptc(iptc: bytes | None, resources: bytes | None) -> bytes:
    """One block of resources; empty if there are none."""
    own = _join([Resource(b"8BIM", _IPTC, b"\0\0", iptc)]) if iptc else b""
    return own + (resources or b"")


def scale_resolution(block: bytes, factor: float) -> bytes:
    """The block with the resolution times `factor`."""
    return _join(_scale(resource, factor) for resource in _parse(block))


def _scale(resource: Resource, factor: float) -> Resource:
    if resource.kind != _RESOLUTION or len(resource.data) < 16:
        return resource
    data = bytearray(resource.data)
    for place in (0, 8):  # pixels an inch across and down, each with 16 bits behind the point
        scaled = round(struct.unpack_from(">I", data, place)[0] * factor)
        if scaled < 1 << 32:
            struct.pack_into(">I", data, place, scaled)
    return replace(resource, data=bytes(data))


def _parse(block: bytes) -> Iterator[Resource]:
    """The resources up to the first that is damaged."""
    place = 0
    while place + 12 <= len(block) and block[place : place + 4] in _SIGNATURES:
        signature, kind, length = struct.unpack_from(">4sHB", block, place)
        name_bytes = length + 1 + (length + 1) % 2
        start = place + 6 + name_bytes + 4
        if start > len(block):
            return
        size = struct.unpack_from(">I", block, start - 4)[0]
        if start + size > len(block):
            return
        yield Resource(signature, kind, block[place + 6 : place + 6 + name_bytes], block[start : start + size])
        place = start + size + size % 2


def _join(resources: Iterable[Resource]) -> bytes:
    return b"".join(
        resource.signature
        + struct.pack(">H", resource.kind)
        + resource.name
        + struct.pack(">I", len(resource.data))
        + resource.data
        + bytes(len(resource.data) % 2)
        for resource in resources
    )
