"""What is known of a file before its pixels are decoded agrees with what they turn out to be."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io import faults
from adaptsr_cli.io.decoding import read_outline
from adaptsr_cli.io.formats.kind import Outline
from adaptsr_cli.io.images import read_picture, read_rgb, write_picture
from adaptsr_cli.io.pictures import Animation, Picture


def picture(dtype: type[np.generic] = np.uint8, *, alpha: bool = False, grey: bool = False) -> Picture:
    mask = (np.mgrid[:6, :9][0] * 40).astype(dtype)
    return Picture(np.zeros((6, 9, 3), dtype), mask if alpha else None, grey)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif", ".bmp"])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_an_outline_is_what_is_decoded(suffix: str, deep: bool, alpha: bool, grey: bool, tmp_path: Path) -> None:
    if alpha and suffix in {".jpg", ".bmp"}:
        pytest.skip("holds no transparency")
    path = tmp_path / f"a{suffix}"
    write_picture(path, picture(np.uint16 if deep else np.uint8, alpha=alpha, grey=grey))
    read = read_picture(path)
    assert read_outline(path) == Outline(9, 6, 1, read.colour.dtype == np.uint16, read.alpha is not None)


def test_palettes_with_transparency_and_turned_pictures(tmp_path: Path) -> None:
    Image.new("P", (9, 6)).save(tmp_path / "p.png", transparency=0)
    assert read_outline(tmp_path / "p.png") == Outline(9, 6, alpha=True)
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (9, 6)).save(tmp_path / "t.jpg", exif=exif)
    assert read_outline(tmp_path / "t.jpg") == Outline(6, 9)


def test_pages_count_by_the_largest_and_frames_as_if_transparent(tmp_path: Path) -> None:
    large = Picture(np.zeros((60, 90, 3), np.uint16))
    write_picture(tmp_path / "a.tif", replace(picture(), further=(large, picture(alpha=True))))
    assert read_outline(tmp_path / "a.tif") == Outline(90, 60, 3, deep=True, alpha=True)
    frames = replace(picture(), further=(Picture(np.full((6, 9, 3), 99, np.uint8)),), animation=Animation((9.0, 9.0)))
    write_picture(tmp_path / "a.png", frames)
    assert read_outline(tmp_path / "a.png") == Outline(9, 6, 2, alpha=True)


def test_only_what_goes_by_rows_may_have_any_number_of_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "MAX_PIXELS", 10)
    write_picture(tmp_path / "a.tif", picture())
    with pytest.raises(ImageError, match="54 pixels are more"):
        read_outline(tmp_path / "a.tif")
    assert read_outline(tmp_path / "a.tif", by_rows=True) == Outline(9, 6)


def make_png(**options: object) -> bytes:
    buffer = BytesIO()
    frame = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    frame.save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_a_png_with_a_programs_own_data_behind_its_end_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(make_png() + b"a program's own data")
    assert read_rgb(tmp_path / "a.png").shape == (20, 30, 3)


@pytest.mark.parametrize("length", [8, 20, 40, 500, -13, -12, -1])
def test_a_png_that_is_cut_off_is_refused(length: int, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(make_png()[:length])
    with pytest.raises(ImageError, match=r"cut\.png"):
        read_rgb(tmp_path / "cut.png")


def test_every_changed_byte_of_a_pngs_pixels_is_found(tmp_path: Path) -> None:
    data = make_png()
    for where in range(data.index(b"IDAT"), len(data) - 12, 37):
        spoilt = bytearray(data)
        spoilt[where] ^= 0x10
        (tmp_path / "spoilt.png").write_bytes(spoilt)
        with pytest.raises(ImageError, match=r"spoilt\.png"):
            read_rgb(tmp_path / "spoilt.png")


def test_a_changed_frame_of_an_animation_is_found(tmp_path: Path) -> None:
    animation = make_png(save_all=True, append_images=[Image.new("RGB", (30, 20), (9, 0, 0))])
    (tmp_path / "a.png").write_bytes(animation)
    assert len(read_picture(tmp_path / "a.png").further) == 1
    where = animation.index(b"fdAT") + 12
    spoilt = animation[:where] + bytes((animation[where] ^ 1,)) + animation[where + 1 :]
    (tmp_path / "a.png").write_bytes(spoilt)
    with pytest.raises(ImageError, match="fdAT"):
        read_picture(tmp_path / "a.png")
