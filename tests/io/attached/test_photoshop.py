"""Photoshop's resources: IPTC taken out, stale ones left out, resolution multiplied."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st
from rich_files import IPTC, RESOURCES

from adaptsr_cli.io.attached.photoshop import join_iptc, scale_resolution, split_iptc


def resource(kind: int, data: bytes, name: bytes = b"") -> bytes:
    named = bytes([len(name)]) + name + bytes((len(name) + 1) % 2)
    return b"8BIM" + struct.pack(">H", kind) + named + struct.pack(">I", len(data)) + data + bytes(len(data) % 2)


def test_iptc_is_split_and_joined_again() -> None:
    iptc, others = split_iptc(RESOURCES)
    assert iptc == IPTC
    assert join_iptc(iptc, others) == RESOURCES
    assert split_iptc(b"") == (None, None)
    assert join_iptc(None, None) == b""


def test_what_describes_the_old_pixels_goes() -> None:
    kept = resource(0x07D0, b"a path", b"Path 1") + resource(0x0425, bytes(16))
    stale = resource(0x040C, b"thumbnail") + resource(0x041A, b"slices") + resource(0x040F, b"icc")
    assert split_iptc(stale + kept) == (None, kept)


def test_resolution_is_multiplied() -> None:
    data = struct.pack(">IHHIHH", 300 << 16, 1, 2, 72 << 16, 1, 2)
    scaled = scale_resolution(resource(0x03ED, data) + resource(0x040A, b"\1"), 2.5)
    wanted = struct.pack(">IHHIHH", 750 << 16, 1, 2, 180 << 16, 1, 2)
    assert scaled == resource(0x03ED, wanted) + resource(0x040A, b"\1")


@given(st.binary(max_size=60))
def test_damaged_blocks_end_where_they_are_damaged(tail: bytes) -> None:
    iptc, others = split_iptc(RESOURCES + b"8BIM\x04\x04\x00\x00" + tail)
    assert (iptc or b"").startswith(IPTC)
    scale_resolution(others or b"", 2)
