"""Pictures of more than 8 bits a channel."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from conftest import noise
from PIL import Image
from readers import png_16_bit, png_chunk, read_samples

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.colour.icc import make_rgb_profile
from adaptsr_cli.io.high_bit_depth import decode_deep_avif
from adaptsr_cli.io.images import (
    image_size,
    read_picture,
    read_rgb,
    write_picture,
)
from adaptsr_cli.io.pictures import Picture, layers_of, orient

GAMMA_1_8 = make_rgb_profile((0.3127, 0.329), np.array(((0.64, 0.33), (0.3, 0.6), (0.15, 0.06))), (1.8,))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_keeps_its_16_bits(tmp_path: Path, suffix: str) -> None:
    samples = noise(4, 5, depth=16)
    samples[0, 0] = 200  # dark, but 16-bit all the same: the type decides, not the largest value
    Image.fromarray(samples).save(tmp_path / f"a{suffix}")
    picture = read_picture(tmp_path / f"a{suffix}")
    assert (picture.colour.dtype, picture.grey) == (np.uint16, True)
    assert np.array_equal(picture.colour[..., 1], samples)
    write_picture(tmp_path / f"b{suffix}", picture)
    assert np.array_equal(read_picture(tmp_path / f"b{suffix}").colour, picture.colour)
    assert np.array_equal(read_rgb(tmp_path / f"a{suffix}")[..., 0], np.rint(samples / 257))


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_a_16_bit_png_keeps_its_16_bits(tmp_path: Path, colour_type: int, channels: int) -> None:
    samples = noise(4, 5, channels, depth=16)
    (tmp_path / "wide.png").write_bytes(png_16_bit(samples, colour_type))
    picture = read_picture(tmp_path / "wide.png")
    assert picture.grey == (channels <= 2)
    assert (picture.alpha is not None) == (channels in {2, 4})
    assert picture.colour.dtype == np.uint16
    assert np.array_equal(layers_of(picture), samples)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("bits", [10, 12])
def test_an_avif_of_more_than_8_bits_keeps_them(tmp_path: Path, channels: int, bits: int) -> None:
    most = (1 << bits) - 1
    samples = np.linspace(0, most, 16 * 24 * channels).reshape(16, 24, channels).astype(np.uint16)
    layers = samples if channels > 1 else samples[..., 0]
    (tmp_path / "a.avif").write_bytes(imagecodecs.avif_encode(layers, 100, bitspersample=bits))
    picture = read_picture(tmp_path / "a.avif")
    assert picture.grey == (channels == 1)
    assert np.array_equal(layers_of(picture), np.rint(samples * (65535 / most)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_avif_is_turned_like_a_plain_one(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :16] = 250
    Image.fromarray(stored).save(tmp_path / "a.avif", exif=exif, quality=100, subsampling="4:4:4")
    plain = read_picture(tmp_path / "a.avif").colour
    wide = decode_deep_avif((tmp_path / "a.avif").read_bytes(), 16)  # 8 bits here, but as it is stored
    assert np.array_equal(orient(wide, orientation), plain)


def test_a_16_bit_png_keeps_profile_and_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Acme"
    picture = Picture(noise(9, 8, 3, depth=16), icc=GAMMA_1_8, exif=exif.tobytes())
    write_picture(tmp_path / "a.png", picture, note="made by a test")
    assert np.array_equal(read_samples(tmp_path / "a.png"), picture.colour)
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["icc_profile"] == picture.icc
        assert image.getexif()[0x010F] == "Acme"
        assert b"made by a test" in image.info["xmp"]
    again = read_picture(tmp_path / "a.png")
    assert (again.icc, again.exif) == (picture.icc, picture.exif)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_cut_off_16_bit_png_is_never_half_read(tmp_path: Path, share: float) -> None:
    data = png_16_bit(noise(64, 64, 3, depth=16), 2)
    (tmp_path / "cut.png").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"cut\.png"):
        read_picture(tmp_path / "cut.png")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_of_a_16_bit_png(tmp_path: Path, orientation: int) -> None:
    samples = noise(4, 7, 3, depth=16)
    exif = Image.Exif()
    exif[0x0112] = orientation
    extra = png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "a.png").write_bytes(png_16_bit(samples, 2, extra))
    picture = read_picture(tmp_path / "a.png")
    assert np.array_equal(picture.colour, orient(samples, orientation))
    assert image_size(tmp_path / "a.png") == picture.colour.shape[1::-1]


@pytest.mark.parametrize("key", [(0x5678,), (1, 2, 0xFFFF)])
def test_a_16_bit_colour_key_becomes_alpha(tmp_path: Path, key: tuple[int, ...]) -> None:
    samples = np.array([[key, key]], np.uint16)
    samples[0, 0, 0] += 1  # differs only below what 8 bits could tell
    extra = png_chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    (tmp_path / "key.png").write_bytes(png_16_bit(samples, 0 if len(key) == 1 else 2, extra))
    picture = read_picture(tmp_path / "key.png")
    assert np.array_equal(picture.colour[..., : len(key)], samples)
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[65535, 0]]


def test_a_bmp_of_16_bits_a_pixel_is_no_deep_one(tmp_path: Path) -> None:
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    pixels = struct.pack("<HH", 0xF800, 0x07E0)
    head = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, len(pixels), 0, 0, 0, 0) + masks
    file_head = b"BM" + struct.pack("<IHHI", 14 + len(head) + len(pixels), 0, 0, 14 + len(head))
    (tmp_path / "a.bmp").write_bytes(file_head + head + pixels)
    assert read_picture(tmp_path / "a.bmp").colour.tolist() == [[[255, 0, 0], [0, 255, 0]]]


WITHOUT_THE_EXTRA = """
import sys
from pathlib import Path

sys.modules["imagecodecs"] = None
import numpy as np
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.images import check_writable, read_picture, write_picture
from adaptsr_cli.io.pictures import Picture

folder = Path(sys.argv[1])
for kind in (np.uint8, np.uint16):
    picture = Picture(np.arange(40 * 30 * 3, dtype=kind).reshape(40, 30, 3))
    write_picture(folder / "a.tif", picture)
    assert np.array_equal(read_picture(folder / "a.tif").colour, picture.colour)
for act in (
    lambda: read_picture(folder / "deep.png"),
    lambda: read_picture(folder / "lzw.tif"),
    lambda: check_writable(folder / "b.png", picture, 60, 80),
):
    try:
        act()
    except ImageError as error:
        print(error.message, "|", error.hint)
"""


def test_without_the_extra_one_line_names_its_command(tmp_path: Path) -> None:
    deep = Picture(np.arange(40 * 30 * 3, dtype=np.uint16).reshape(40, 30, 3))
    write_picture(tmp_path / "deep.png", deep)
    tifffile.imwrite(tmp_path / "lzw.tif", deep.colour, compression="lzw", photometric="rgb")
    command = [sys.executable, "-c", WITHOUT_THE_EXTRA, str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 3
    assert all("imagecodecs" in line and line.endswith("| pip install 'adaptsr[images]'") for line in lines)
