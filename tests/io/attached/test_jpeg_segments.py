"""Segments of JPEG files: long ones over several, as others read them."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich_files import RATING_XMP, exif_block, has_exiftool, pixels, read_by_exiftool, segment

from adaptsr_cli.io.attached.jpeg_segments import read_segments
from adaptsr_cli.io.attached.record import Attachments, Density
from adaptsr_cli.io.attached.xmp import name_extended
from adaptsr_cli.io.images import read_note, read_picture, write_picture
from adaptsr_cli.io.pictures import Picture

PICTURE = Picture(pixels())


def large_xmp(size: int) -> bytes:
    return RATING_XMP.replace(b'xmp:Rating="4"', b'xmp:Rating="4" xmp:Label="' + b"x" * size + b'"')


def long_exif(size: int) -> bytes:
    """EXIF with a description at its end that is this long."""
    block = exif_block()
    text = b"d" * size + b"\0"
    at = len(block) - 6
    place = block.index(b"\x10\x01\x02\0")  # the model becomes the description
    entry = struct.pack("<HHII", 0x010E, 2, len(text), at)
    return block[:place] + entry + block[place + 12 :] + text


@pytest.mark.parametrize("size", [10, 65_000, 65_533, 200_000])
def test_exif_of_any_length_is_written_and_read_by_others(size: int, tmp_path: Path) -> None:
    exif = long_exif(size)
    write_picture(tmp_path / "a.jpg", Picture(pixels(), exif=exif), note="n")
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.info["exif"] == exif
        image.load()
    assert read_picture(tmp_path / "a.jpg").exif == exif
    if has_exiftool():
        (found,) = read_by_exiftool([tmp_path / "a.jpg"])
        assert found["Make"] == "Canon"
        assert "Warning" not in found or found["Warning"] == "[minor] File contains multi-segment EXIF"


@pytest.mark.parametrize("size", [10, 65_000, 66_000, 300_000])
def test_xmp_of_any_length_is_written_and_read_by_others(size: int, tmp_path: Path) -> None:
    xmp = large_xmp(size)
    write_picture(tmp_path / "a.jpg", Picture(pixels(), attached=Attachments(xmp=xmp)), note="n")
    assert read_note(tmp_path / "a.jpg") == "n"
    read = read_picture(tmp_path / "a.jpg")
    write_picture(tmp_path / "b.png", read)
    with Image.open(tmp_path / "b.png") as image:
        assert b"x" * size in image.info["xmp"]
        assert b'xmp:Rating="4"' in image.info["xmp"]
    if has_exiftool():
        (found,) = read_by_exiftool([tmp_path / "a.jpg"])
        assert (found["Rating"], found["Subject"]) == (4, "lighthouse")
        assert "Warning" not in found


def test_a_second_packet_stays_the_second(tmp_path: Path) -> None:
    extended = large_xmp(100_000).replace(b"lighthouse", b"depth")
    first = RATING_XMP.replace(
        b"<dc:subject", b"<xmpNote:HasExtendedXMP xmlns:xmpNote='http://ns.adobe.com/xmp/note/'>"
        + name_extended(extended) + b"</xmpNote:HasExtendedXMP><dc:subject",
    )  # fmt: skip
    data = io.BytesIO()
    Image.fromarray(pixels()).save(data, "JPEG")
    parts = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + first)
    for place in range(0, len(extended), 60_000):
        head = b"http://ns.adobe.com/xmp/extension/\0" + name_extended(extended)
        head += struct.pack(">II", len(extended), place)
        parts += segment(0xE1, head + extended[place : place + 60_000])
    (tmp_path / "a.jpg").write_bytes(data.getvalue()[:2] + parts + data.getvalue()[2:])
    write_picture(tmp_path / "b.jpg", read_picture(tmp_path / "a.jpg"), note="n")
    with (tmp_path / "b.jpg").open("rb") as file:
        found = read_segments(file)
    assert found.extended == extended
    assert b"lighthouse" in (found.xmp or b"")
    assert read_note(tmp_path / "b.jpg") == "n"


@pytest.mark.parametrize("density", [Density(300, 150), Density(72.009, 72.009), Density(4, 3, absolute=False)])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".bmp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resolution_and_shape_of_pixels_come_back(
    density: Density, suffix: str, dtype: type[np.generic], tmp_path: Path
) -> None:
    picture = Picture(np.zeros((4, 4, 3), dtype), attached=Attachments(density=density))
    write_picture(tmp_path / f"a{suffix}", picture)
    found = read_picture(tmp_path / f"a{suffix}").attached.density
    if suffix == ".bmp" and not density.absolute:
        assert found is None
    else:
        assert found is not None
        assert (found.across, found.down) == pytest.approx((density.across, density.down), rel=2e-4)
        assert found.absolute == density.absolute


def test_a_resolution_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.jpg", Picture(pixels(), attached=Attachments(density=Density(70_000, 70_000))))
    assert read_picture(tmp_path / "a.jpg").attached.density is None


def test_a_turned_picture_has_upright_exif_and_xmp(tmp_path: Path) -> None:
    xmp = RATING_XMP.replace(b'tiff:ImageWidth="12"', b'tiff:Orientation="6"')
    Image.fromarray(pixels()).save(tmp_path / "a.jpg", exif=exif_block(orientation=6), xmp=xmp)
    write_picture(tmp_path / "b.jpg", read_picture(tmp_path / "a.jpg"))
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (8, 12)
        assert image.getexif()[0x0112] == 1
        assert b'tiff:Orientation="1"' in image.info["xmp"]


@pytest.mark.parametrize("comment", ["café", "naïve — 山", "plain"])
def test_comments_stay_whatever_their_letters(comment: str, tmp_path: Path) -> None:
    Image.fromarray(pixels()).save(tmp_path / "a.jpg", comment=comment.encode())
    write_picture(tmp_path / "b.jpg", read_picture(tmp_path / "a.jpg"))
    write_picture(tmp_path / "c.png", read_picture(tmp_path / "b.jpg"))
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.info["comment"] == comment.encode()
    with Image.open(tmp_path / "c.png") as image:
        assert image.info["Comment"] == comment
