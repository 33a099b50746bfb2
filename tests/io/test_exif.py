"""EXIF fields that speak of the pixels."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from adaptsr_cli.io.exif import clear_orientation, read_orientation, set_size


def exif_bytes(order: str = "<", **more: int) -> bytes:
    exif = Image.Exif()
    exif.endian = order
    exif[0x0112] = more.get("orientation", 6)
    exif.get_ifd(0x8769)[0xA002] = more.get("width", 640)
    exif.get_ifd(0x8769)[0xA003] = 480
    exif.get_ifd(0x8769)[0x927C] = bytes(range(100))
    return exif.tobytes()


def parse(exif: bytes) -> Image.Exif:
    parsed = Image.Exif()
    parsed.load(exif)
    return parsed


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_and_cleared_in_both_byte_orders(order: str) -> None:
    exif = exif_bytes(order)
    assert read_orientation(exif) == 6
    cleared = clear_orientation(exif)
    assert read_orientation(cleared) == 1
    assert len(cleared) == len(exif)
    assert parse(cleared).get_ifd(0x8769)[0x927C] == bytes(range(100))


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_size_follows_the_picture(order: str) -> None:
    patched = parse(set_size(exif_bytes(order), 2560, 1920)).get_ifd(0x8769)
    assert (patched[0xA002], patched[0xA003]) == (2560, 1920)


def test_a_size_that_does_not_fit_its_field_is_left() -> None:
    exif = exif_bytes()
    assert parse(exif).get_ifd(0x8769)[0xA002] == 640
    short = exif.replace(b"\x02\xa0\x04\x00", b"\x02\xa0\x03\x00")  # a SHORT, as some cameras write it
    assert parse(set_size(short, 70_000, 1920)).get_ifd(0x8769)[0xA002] == 640
    assert parse(set_size(short, 60_000, 1920)).get_ifd(0x8769)[0xA002] == 60_000


def test_the_thumbnail_goes_because_nobody_turns_it() -> None:
    data = bytearray(exif_bytes())
    entries = struct.unpack_from("<H", data, 6 + 8)[0]
    struct.pack_into("<I", data, 6 + 8 + 2 + 12 * entries, len(data) - 6)  # where the folder of the thumbnail follows
    data += struct.pack("<HHHIII", 1, 0x0103, 3, 1, 6, 0)
    assert parse(bytes(data)).get_ifd(ExifTags.IFD.IFD1) == {0x0103: 6}
    cleared = clear_orientation(bytes(data))
    assert not parse(cleared).get_ifd(ExifTags.IFD.IFD1)
    assert read_orientation(cleared) == 1


@pytest.mark.parametrize("damaged", [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"nonsense"])
def test_damaged_exif_says_nothing(damaged: bytes) -> None:
    assert read_orientation(damaged) == 1
    assert clear_orientation(damaged).endswith(damaged.removeprefix(b"Exif\0\0"))
    assert set_size(damaged, 1, 1) == damaged


@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail(tail: bytes) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + tail
    assert 1 <= read_orientation(exif) <= 8
    assert len(set_size(clear_orientation(exif), 5, 5)) == len(exif)
