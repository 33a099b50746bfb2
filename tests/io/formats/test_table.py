"""The table of formats: files are what their content says, and every format that is written is read."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.formats.table import FORMATS, READ_SUFFIXES, WRITE_SUFFIXES, find_by_suffix, recognise
from adaptsr_cli.io.images import image_size, read_picture, read_rgb, write_rgb

RAMP = np.stack(np.broadcast_arrays(*np.mgrid[:24, :32] * 7, 128), 2).astype(np.uint8)


def test_every_suffix_stands_for_one_format() -> None:
    suffixes = [suffix for kind in FORMATS for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)
    assert WRITE_SUFFIXES < READ_SUFFIXES
    assert {kind.becomes for kind in FORMATS if kind.writer is None} <= WRITE_SUFFIXES


@pytest.mark.parametrize("suffix", sorted(WRITE_SUFFIXES))
def test_what_is_written_is_recognised_under_any_name(suffix: str, tmp_path: Path) -> None:
    write_rgb(tmp_path / f"a{suffix}", RAMP)
    renamed = (tmp_path / f"a{suffix}").rename(tmp_path / "a.xyz")
    assert recognise(renamed) is find_by_suffix(suffix)
    assert np.abs(read_rgb(renamed).astype(int) - RAMP).mean() < 3
    assert image_size(renamed) == (32, 24)
    assert read_picture(renamed).remarks[0].endswith("though its name ends in .xyz")


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".jif", ".JPEG", ".mpo"])
def test_all_endings_of_jpeg_are_read_without_a_remark(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / f"a{suffix}", "JPEG")
    assert read_picture(tmp_path / f"a{suffix}").remarks == ()


def test_of_an_mpo_the_first_picture_is_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(RAMP), Image.fromarray(255 - RAMP)
    first.save(tmp_path / "a.mpo", "MPO", save_all=True, append_images=[second], quality=95)
    picture = read_picture(tmp_path / "a.mpo")
    assert picture.further == ()
    assert np.abs(picture.colour.astype(int) - RAMP).mean() < 3


@pytest.mark.parametrize("frames", [1, 3])
def test_of_a_gif_the_first_frame_is_read_and_that_is_said(frames: int, tmp_path: Path) -> None:
    images = [Image.fromarray(np.full((8, 9), level, np.uint8)) for level in (10, 90, 200)[:frames]]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    picture = read_picture(tmp_path / "a.gif")
    assert picture.further == ()
    assert (picture.colour == 10).all()
    assert list(picture.remarks) == ["is an animation: only its first frame is used"] * (frames > 1)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"8BPS" + bytes(30), "Photoshop"),
        (b"v/1\x01" + bytes(30), "OpenEXR"),
        (b'<?xml version="1.0"?><svg xmlns="..."/>', "SVG"),
        (b"\0\0\0\x18ftypisom" + bytes(30), "video"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(30), "JPEG 2000"),
    ],
)
def test_what_is_no_image_of_ours_is_named(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=rf"a\.jpg: it is .*{name}") as caught:
        read_picture(tmp_path / "a.jpg")
    assert "convert" in caught.value.hint


def test_a_damaged_file_is_called_what_it_is(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.fromarray(RAMP).save(buffer, "WEBP")
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue()[:60])
    with pytest.raises(ImageError, match=r"a\.jpg"):
        read_picture(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400))
    with pytest.raises(ImageError, match=r"b\.jpg as HEIC"):
        read_picture(tmp_path / "b.jpg")
