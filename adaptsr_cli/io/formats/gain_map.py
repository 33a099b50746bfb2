"""Gain maps of JPEG (Ultra HDR): a second, small JPEG in the file, by which screens with HDR brighten the picture.

A gain map may have any size, so it goes along with an upscaled picture as it is. The picture's XMP names it and its
length, and a segment MPF says where it lies.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image

from adaptsr_cli.io.pictures import orient

_MARKS: Final = (b"hdrgm:Version", b"urn:iso:std:iso:ts:21496:-1")
_MPF: Final = b"MPF\0"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_ISO_VERSION: Final = b"urn:iso:std:iso:ts:21496:-1\0" + bytes(4)  # what a picture has that a gain map goes with
_ENTRIES: Final = 0xB002
_HEAD_BYTES: Final = 1 << 16
_QUALITY: Final = 97
_END_OF_RDF: Final = b"</rdf:RDF>"
_EMPTY: Final = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b"</rdf:RDF></x:xmpmeta>"
)
_DIRECTORY: Final = """<rdf:Description rdf:about="" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"
 xmlns:Container="http://ns.google.com/photos/1.0/container/" xmlns:Item="http://ns.google.com/photos/1.0/container/item/"
 hdrgm:Version="1.0"><Container:Directory><rdf:Seq>
<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li>
<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" Item:Mime="image/jpeg"
 Item:Length="{length}"/></rdf:li>
</rdf:Seq></Container:Directory></rdf:Description>
"""


def read_gain_map(data: bytes) -> bytes | None:
    """The gain map in a JPEG file, a JPEG of its own; None where there is none."""
    for kind, place, length in _list_segments(data):
        if kind == 0xE2 and data[place : place + len(_MPF)] == _MPF:
            for start, size in _list_pictures(data, place + len(_MPF), place + length):
                head = data[start : start + min(size, _HEAD_BYTES)]
                if head.startswith(b"\xff\xd8") and start + size <= len(data) and any(mark in head for mark in _MARKS):
                    return data[start : start + size]
    return None


def attach_gain_map(data: bytes, gain_map: bytes) -> bytes:
    """Put a gain map into a JPEG file that has none.

    Args:
        data: The finished file; its XMP, if it has any, is completed.
        gain_map: What `read_gain_map` gave.
    """
    data = _declare(data, len(gain_map))
    behind = 2
    for kind, place, length in _list_segments(data):
        if 0xE0 <= kind <= 0xEF:
            behind = place + length
    # The offset is counted from behind the name of the segment, the size includes the segment itself.
    segment = _pack_mpf(0, 0, len(gain_map))
    whole = len(data) + len(segment)
    segment = _pack_mpf(whole, whole - (behind + 4 + len(_MPF)), len(gain_map))
    return data[:behind] + segment + data[behind:] + gain_map


def clear_description(packet: bytes) -> bytes:
    """An XMP packet without what it says of a gain map."""
    packet = re.sub(rb"<rdf:li[^>]*>\s*<Container:Item.*?</rdf:li>", b"", packet, flags=re.S)
    packet = re.sub(rb"<Container:Directory>.*?</Container:Directory>", b"", packet, flags=re.S)
    return re.sub(rb'\s(xmlns:)?(hdrgm|Container|Item)(:\w+)?="[^"]*"', b"", packet)


def turn_gain_map(gain_map: bytes, orientation: int) -> bytes:
    """Turn a gain map as EXIF's orientation says of its picture; what its segments say stays."""
    with Image.open(BytesIO(gain_map), formats=("JPEG",)) as image:
        samples = np.asarray(image)
    layers = orient(samples if samples.ndim == 3 else samples[..., None], orientation)
    turned = BytesIO()
    plain = np.ascontiguousarray(layers[..., 0] if layers.shape[2] == 1 else layers)
    Image.fromarray(plain).save(turned, "JPEG", quality=_QUALITY, subsampling="4:4:4")
    data = turned.getvalue()
    kept = b"".join(
        gain_map[place - 4 : place + length]
        for kind, place, length in _list_segments(gain_map)
        if 0xE1 <= kind <= 0xEF and gain_map[place : place + len(_MPF)] != _MPF
    )
    behind = next((place + length for kind, place, length in _list_segments(data) if kind == 0xE0), 2)
    return data[:behind] + kept + data[behind:]


def _declare(data: bytes, length: int) -> bytes:
    """Name the gain map in the XMP of a JPEG, which is made where there is none, and in the manner of ISO 21496-1."""
    packet, start, stop = _EMPTY, 2, 2
    for kind, place, size in _list_segments(data):
        if kind == 0xE0 or (kind == 0xE1 and data[place : place + 4] == b"Exif"):
            start = stop = place + size
        if kind == 0xE1 and data[place : place + len(_XMP)] == _XMP:
            packet, start, stop = data[place + len(_XMP) : place + size], place - 4, place + size
            break
    packet = clear_description(packet)  # of the input, which speaks of the file that it was in
    directory = _DIRECTORY.format(length=length).encode()
    packet = packet.replace(_END_OF_RDF, directory + _END_OF_RDF, 1)
    return data[:start] + _segment(0xE1, _XMP + packet) + _segment(0xE2, _ISO_VERSION) + data[stop:]


def _segment(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(content) + 2) + content


def _pack_mpf(first_bytes: int, offset: int, second_bytes: int) -> bytes:
    """A segment MPF of two pictures, the second behind the first."""
    entries = struct.pack(">3I2H3I2H", 0x030000, first_bytes, 0, 0, 0, 0, second_bytes, offset, 0, 0)
    tags = struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, 2)
    tags += struct.pack(">HHII", _ENTRIES, 7, len(entries), 8 + 2 + 3 * 12 + 4)
    return _segment(0xE2, _MPF + b"MM\0*" + struct.pack(">IH", 8, 3) + tags + bytes(4) + entries)


def _list_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind of each segment before the pixels, where its content begins, and its length."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        length = struct.unpack_from(">H", data, place + 2)[0] - 2
        yield data[place + 1], place + 4, length
        place += 4 + length


def _list_pictures(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where each further picture of a file begins, and its size, by the segment MPF from `start` on."""
    order = {b"II": "<", b"MM": ">"}.get(data[start : start + 2])
    if order is None:
        return
    try:
        folder = start + struct.unpack_from(f"{order}I", data, start + 4)[0]
        for entry in range(struct.unpack_from(f"{order}H", data, folder)[0]):
            tag, _, count, place = struct.unpack_from(f"{order}HHII", data, folder + 2 + 12 * entry)
            if tag == _ENTRIES and start + place + count <= stop:
                for number in range(1, count // 16):
                    size, offset = struct.unpack_from(f"{order}II", data, start + place + 16 * number + 4)
                    yield start + offset, size
    except struct.error:  # cut off; the picture is no worse for it
        return
