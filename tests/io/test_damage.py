"""Damage that decoders call damage is an error, or is told of a picture that is decoded all the same."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from damaged_files import DAMAGED, DECODABLE, HEIGHT, WIDTH, chunk, encoded, pixels, png, png_rows
from PIL import Image, ImageFile

from adaptsr_cli.errors import DamagedImageError, ImageError
from adaptsr_cli.io.damage import find_damage
from adaptsr_cli.io.images import read_picture, read_rgb


@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    suffix, data = DAMAGED[kind]()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    with pytest.raises(DamagedImageError, match=r"cannot read .*: damaged or truncated \(") as caught:
        read_picture(path)
    assert caught.value.fault


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_can_be_decoded_is_kept_if_wanted_and_the_damage_told(kind: str, tmp_path: Path) -> None:
    suffix, data = DAMAGED[kind]()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    if kind not in DECODABLE:
        with pytest.raises(ImageError):
            read_picture(path, keep_damaged=True)
    else:
        picture = read_picture(path, keep_damaged=True)
        assert picture.damage
        assert picture.colour.shape == (HEIGHT, WIDTH, 3)
        first_rows = np.abs(picture.colour[:16].astype(int) - pixels()[:16])
        assert np.median(first_rows) < 30
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "AVIF"])
def test_whole_files_have_no_damage(mode: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    try:
        Image.fromarray(pixels()).convert(mode).save(path, kind)
    except OSError:
        pytest.skip("not of this format")
    assert find_damage(path) is None


@pytest.mark.parametrize("options", [{"subsampling": "4:1:1"}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_kinds_of_jpeg_are_no_damage(options: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("JPEG", **options) + b"a preview behind the end")
    assert find_damage(path) is None
    assert read_picture(path).damage is None


@pytest.mark.parametrize("filling", [b"\0" * 600, b"\xff" * 9, b"\0\xff\0\0"])
def test_filling_before_the_end_mark_is_no_damage(filling: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    data = encoded("JPEG", quality=95)
    path.write_bytes(data[:-2] + filling + data[-2:] + b"a preview with \xff\xd9")
    assert find_damage(path) is None
    path.write_bytes(data[:-400] + filling + data[-2:])
    assert find_damage(path) is not None


@pytest.mark.parametrize(("bits", "colour"), [(1, 0), (2, 0), (4, 3), (8, 4), (16, 6), (16, 2)])
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (33, 17)])
def test_interlaced_png_is_measured_right(bits: int, colour: int, size: tuple[int, int], tmp_path: Path) -> None:
    width, height = size
    pixel_bits = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    rows = b""
    for left, top, across, down in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
    ):  # fmt: skip
        columns = len(range(left, width, across))
        rows += (b"\0" + bytes((columns * pixel_bits + 7) // 8)) * (len(range(top, height, down)) if columns else 0)
    palette = chunk(b"PLTE", bytes(48)) if colour == 3 else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 1))
    for cut, damaged in ((0, False), (1, True)):
        packed = chunk(b"IDAT", zlib.compress(rows[: len(rows) - cut]))
        path = tmp_path / f"{cut}.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + palette + packed + chunk(b"IEND", b""))
        assert (find_damage(path) is not None) == damaged
        if not damaged:
            with Image.open(io.BytesIO(path.read_bytes())) as image:
                image.load()  # the file is what this test takes it for


def test_more_data_than_pixels_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(chunk(b"IDAT", zlib.compress(png_rows() + b"more"))))
    assert (read_rgb(path) == pixels()).all()


def test_a_damaged_file_that_is_kept_hides_no_damage_of_others(tmp_path: Path) -> None:
    suffix, data = DAMAGED["bmp-cut"]()
    paths = [tmp_path / f"{index}{suffix}" for index in range(24)]
    for path in paths:
        path.write_bytes(data)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda path: read_picture(path, keep_damaged=True).damage, paths))
    assert all(found)
