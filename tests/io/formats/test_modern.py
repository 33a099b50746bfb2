"""HEIC, JPEG XL, AVIF of 10 bits and raw: depth, colours, metadata, and what is missing without their libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import pylibjxl
import pytest
from PIL import Image

from adaptsr_cli.data.layouts import find_pairs
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.colour.icc import make_rgb_profile
from adaptsr_cli.io.decoding import read_outline
from adaptsr_cli.io.formats.camera_raw import RawRendering
from adaptsr_cli.io.formats.kind import Outline
from adaptsr_cli.io.images import check_writable, image_size, read_note, read_picture, write_picture
from adaptsr_cli.io.pictures import Picture, orient, picture_of

P3 = make_rgb_profile((0.3127, 0.329), np.array(((0.68, 0.32), (0.265, 0.69), (0.15, 0.06))), (2.2,))
MODERN = (".heic", ".jxl", ".avif")


def waves(channels: int, dtype: type[np.generic] = np.uint16) -> np.ndarray:
    y, x = np.mgrid[:24, :40] / 40
    layers = [0.5 + 0.45 * np.sin(3 * x + 2 * y * k + k) for k in range(channels)]
    return np.rint(np.dstack(layers) * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("suffix", MODERN)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_come_back(suffix: str, dtype: type[np.generic], channels: int, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    layers = waves(channels, dtype)
    exif = Image.Exif()
    exif[0x0110] = "Camera"
    icc = P3 if channels >= 3 and not (suffix == ".jxl" and dtype == np.uint16) else None
    picture = picture_of(layers, grey=channels <= 2, icc=icc, exif=exif.tobytes())
    write_picture(path, picture, quality=95, note="note")
    found = read_picture(path)
    assert found.colour.dtype == dtype
    unit = np.iinfo(dtype).max / 255
    assert np.abs(found.colour.astype(float) - picture.colour).mean() < 2 * unit
    if picture.alpha is None:
        assert found.alpha is None
    else:
        assert found.alpha is not None
        assert np.abs(found.alpha.astype(float) - picture.alpha).mean() < 2 * unit
    assert found.icc == icc
    assert found.exif is not None
    assert b"Camera" in found.exif
    assert read_note(path) == "note"
    assert image_size(path) == (40, 24)
    assert read_outline(path) == Outline(40, 24, 1, dtype == np.uint16, channels in {2, 4})


def test_more_than_8_bits_become_10_in_avif_and_heic_and_stay_16_in_jpeg_xl(tmp_path: Path) -> None:
    picture = Picture(waves(3))
    for suffix in MODERN:
        write_picture(tmp_path / f"a{suffix}", picture, quality=100)
    assert imagecodecs.avif_decode((tmp_path / "a.avif").read_bytes()).max() in range(256, 1024)
    assert pillow_heif.open_heif(tmp_path / "a.heic", convert_hdr_to_8bit=False).info["bit_depth"] == 10
    assert np.array_equal(imagecodecs.jpegxl_decode((tmp_path / "a.jxl").read_bytes()), picture.colour)


def test_a_profile_that_jpeg_xl_cannot_keep_at_16_bits_is_converted(tmp_path: Path) -> None:
    red = np.full((8, 8, 3), (40000, 20000, 20000), np.uint16)
    write_picture(tmp_path / "a.jxl", Picture(red, icc=P3), quality=100)
    found = read_picture(tmp_path / "a.jxl")
    assert found.icc is None
    assert found.colour[4, 4, 0] > 42000  # the same red has larger numbers in the smaller gamut
    assert found.colour[4, 4, 1] < 20000


def test_a_turned_heic_is_upright_and_says_so(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x0110] = "Phone"
    samples = waves(3, np.uint8)
    heif = pillow_heif.from_bytes("RGB", (40, 24), samples.tobytes())
    heif.save(tmp_path / "a.heic", quality=95, chroma=444, exif=exif.tobytes())  # and turned in the file as EXIF says
    picture = read_picture(tmp_path / "a.heic")
    assert image_size(tmp_path / "a.heic") == (24, 40)
    assert np.abs(picture.colour.astype(int) - orient(samples, 6)).mean() < 3
    again = Image.Exif()
    again.load(picture.exif)
    assert again.get(0x0112, 1) == 1


@pytest.mark.parametrize("bits", [10, 12])
def test_deep_avif_is_read_over_its_whole_range(bits: int, tmp_path: Path) -> None:
    most = (1 << bits) - 1
    samples = np.rint(waves(3) / 65535 * most).astype(np.uint16)
    (tmp_path / "a.avif").write_bytes(imagecodecs.avif_encode(samples, 95, bitspersample=bits))
    assert np.abs(read_picture(tmp_path / "a.avif").colour / 65535 - samples / most).max() < 0.02


def test_the_profile_of_a_jpeg_xl_from_elsewhere_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.jxl").write_bytes(pylibjxl.encode(waves(3, np.uint8), lossless=True, icc=P3))
    assert read_picture(tmp_path / "a.jxl").icc == P3


def test_a_jpeg_xl_of_floats_is_read_as_16_bits(tmp_path: Path) -> None:
    light = (waves(3) / 65535).astype(np.float32)
    (tmp_path / "a.jxl").write_bytes(imagecodecs.jpegxl_encode(light, lossless=True))
    assert np.abs(read_picture(tmp_path / "a.jxl").colour / 65535 - light).max() < 1e-4


def test_formats_of_one_picture_take_no_frames(tmp_path: Path) -> None:
    picture = Picture(waves(3, np.uint8), further=(Picture(waves(3, np.uint8)),))
    for suffix in (".heic", ".jxl"):
        with pytest.raises(ImageError, match="holds no pages"):
            check_writable(tmp_path / f"a{suffix}", picture, 40, 24)


def test_the_rendering_of_raw_files_is_told_in_words() -> None:
    plain, bright = RawRendering().describe(), RawRendering("daylight", 1.5).describe()
    assert "camera white balance" in plain
    assert "EV" not in plain
    assert "daylight white balance" in bright
    assert bright.endswith("+1.5 EV")


WITHOUT = """
import sys
from pathlib import Path

for name in ("imagecodecs", "pillow_heif", "pylibjxl", "rawpy", "cv2"):
    sys.modules[name] = None
import numpy as np
from adaptsr_cli.data.layouts import find_pairs
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.images import check_writable, read_picture
from adaptsr_cli.io.pictures import Picture

folder = Path(sys.argv[1])
deep = Picture(np.zeros((4, 4, 3), np.uint16))
for act in (
    lambda: read_picture(folder / "a.heic"),
    lambda: read_picture(folder / "a.jxl"),
    lambda: read_picture(folder / "a.raf"),
    lambda: check_writable(folder / "b.heic", deep, 4, 4),
    lambda: check_writable(folder / "b.jxl", deep, 4, 4),
    lambda: check_writable(folder / "b.avif", deep, 4, 4),
):
    try:
        act()
    except ImageError as error:
        print(error.message, "|", error.hint)
"""


def test_a_missing_library_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    for suffix in (".heic", ".jxl"):
        write_picture(tmp_path / f"a{suffix}", Picture(waves(3, np.uint8)))
    (tmp_path / "a.raf").write_bytes(b"FUJIFILMCCD-RAW " + bytes(100))
    command = [sys.executable, "-c", WITHOUT, str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = ["pillow-heif", "pylibjxl", "rawpy", "pillow-heif", "pylibjxl", "OpenCV"]
    assert len(lines) == len(wanted)
    for line, name in zip(lines, wanted, strict=True):
        assert name in line
        assert line.endswith("| pip install 'adaptsr[images]'")


def test_pairs_of_any_format_are_found_and_read(tmp_path: Path) -> None:
    for side, size, suffix in (("lr", (24, 40), ".heic"), ("hr", (48, 80), ".jxl")):
        (tmp_path / side).mkdir()
        for name in ("a", "b"):
            samples = np.random.default_rng(ord(name)).integers(0, 256, (*size, 3), dtype=np.uint8)
            write_picture(tmp_path / side / f"{name}{suffix}", Picture(samples))
    found = find_pairs(tmp_path, role="test")
    assert [(pair.lr.name, pair.hr.name) for pair in found.pairs if pair.lr] == [
        ("a.heic", "a.jxl"),
        ("b.heic", "b.jxl"),
    ]
