"""TIFF: depths, kinds of colour, pages, and what goes with the pixels."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from readers import read_samples

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io import tiff
from adaptsr_cli.io.colour.icc import make_rgb_profile
from adaptsr_cli.io.images import image_size, read_note, read_picture, read_rgb, write_picture
from adaptsr_cli.io.pictures import Picture, layers_of, orient

GAMMA_1_8 = make_rgb_profile((0.3127, 0.329), np.array(((0.64, 0.33), (0.3, 0.6), (0.15, 0.06))), (1.8,))


def noise(*shape: int, bits: int = 16, seed: int = 0) -> np.ndarray:
    kind = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(seed).integers(0, 1 << bits, shape, dtype=kind)


def write(path: Path, samples: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(path, samples, **{"metadata": None, **options})
    return path


def photo() -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Acme"
    exif[0x013B] = "Zo\xeb".encode("latin-1")
    exif[0x0112] = 1
    exif.get_ifd(0x8769)[0x829A] = 0.01
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 30.0, 15.5)
    return exif.tobytes()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (130, 70)])
def test_what_is_written_is_read_the_same_by_libtiff_and_by_us(
    tmp_path: Path, channels: int, bits: int, size: tuple[int, int]
) -> None:
    layers = noise(*size, channels, bits=bits)
    colour = layers[..., :3] if channels >= 3 else layers[..., :1].repeat(3, axis=2)
    alpha = layers[..., -1] if channels in {2, 4} else None
    write_picture(tmp_path / "a.tif", Picture(colour, alpha, grey=channels <= 2))
    assert np.array_equal(read_samples(tmp_path / "a.tif"), layers)
    assert np.array_equal(layers_of(read_picture(tmp_path / "a.tif")), layers)


@pytest.mark.parametrize("options", [{"byteorder": ">"}, {"compression": "lzw", "predictor": True}, {"bigtiff": True}])
def test_wide_samples_in_any_container(tmp_path: Path, options: dict[str, object]) -> None:
    samples = noise(20, 30, 3)
    picture = read_picture(write(tmp_path / "a.tif", samples, photometric="rgb", **options))
    assert np.array_equal(picture.colour, samples)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_samples_between_8_and_16_bits_fill_the_range(tmp_path: Path, bits: int) -> None:
    samples = np.array([[0, 1, (1 << bits) - 1]], np.uint16)
    path = write(tmp_path / "a.tif", samples, photometric="minisblack")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["BitsPerSample"].overwrite(16)  # stays; what follows packs the samples by hand
    packed = sum(int(value) << bits * (2 - place) for place, value in enumerate(samples[0]))
    data = (packed << (-3 * bits % 8)).to_bytes(-(-3 * bits // 8), "big")
    with tifffile.TiffFile(path, mode="r+") as file:
        page = file.pages.first
        offset = page.dataoffsets[0]
        page.tags["BitsPerSample"].overwrite(bits)
        page.tags["StripByteCounts"].overwrite(len(data))
        file.filehandle.seek(offset)
        file.filehandle.write(data)
    assert read_picture(path).colour[..., 0].tolist() == [[0, round(65535 / ((1 << bits) - 1)), 65535]]


def test_white_may_be_zero(tmp_path: Path) -> None:
    samples = noise(4, 5)
    picture = read_picture(write(tmp_path / "a.tif", samples, photometric="miniswhite"))
    assert np.array_equal(picture.colour[..., 0], 65535 - samples)


def test_colour_multiplied_by_transparency_is_divided_again(tmp_path: Path) -> None:
    straight, alpha = np.full((1, 4, 3), 40_000, np.uint16), np.array([[0, 300, 30_000, 65535]], np.uint16)
    multiplied = np.rint(straight * (alpha[..., None] / 65535)).astype(np.uint16)
    layers = np.concatenate([multiplied, alpha[..., None]], axis=2)
    picture = read_picture(write(tmp_path / "a.tif", layers, photometric="rgb", extrasamples=("assocalpha",)))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, alpha)
    assert np.abs(picture.colour[0, 2:].astype(int) - 40_000).max() <= 1
    assert np.abs(picture.colour[0, 1].astype(int) - 40_000).max() <= 110  # 300 of 65535 levels are left of it


def test_a_further_channel_that_is_no_transparency_is_left_out(tmp_path: Path) -> None:
    samples = noise(4, 5, 4)
    picture = read_picture(write(tmp_path / "a.tif", samples, photometric="rgb", extrasamples=("unspecified",)))
    assert picture.alpha is None
    assert np.array_equal(picture.colour, samples[..., :3])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
def test_orientation_is_applied_once(tmp_path: Path, orientation: int, bits: int) -> None:
    samples = noise(6, 9, 3, bits=bits)
    path = write(tmp_path / "a.tif", samples, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    wanted = orient(samples, orientation)
    picture = read_picture(path)
    assert np.array_equal(picture.colour, wanted)
    assert image_size(path) == (wanted.shape[1], wanted.shape[0])
    write_picture(tmp_path / "b.tif", picture)
    assert np.array_equal(read_picture(tmp_path / "b.tif").colour, wanted)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_profile_exif_and_note_go_along(tmp_path: Path, bits: int, big: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if big:
        monkeypatch.setattr(tiff, "_MAX_BYTES", 0)
    picture = Picture(noise(8, 8, 3, bits=bits), icc=GAMMA_1_8, exif=photo())
    write_picture(tmp_path / "a.tif", picture, note='model "x" <1>\nünï')
    assert (tmp_path / "a.tif").read_bytes()[2] == (43 if big else 42)
    again = read_picture(tmp_path / "a.tif")
    assert np.array_equal(again.colour, picture.colour)
    assert again.icc == picture.icc
    assert read_note(tmp_path / "a.tif") == 'model "x" <1>\nünï'
    assert again.exif is not None
    kept = Image.Exif()
    kept.load(again.exif)
    assert kept[0x010F] == "Acme"
    assert kept[0x013B] == "Zo\xeb"
    assert float(kept.get_ifd(0x8769)[0x829A]) == pytest.approx(0.01)
    assert kept.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
    assert tuple(map(float, kept.get_ifd(0x8825)[2])) == (52.0, 30.0, 15.5)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:  # and by another reader of tags
        assert file.pages.first.tags["ExifTag"].value["DateTimeOriginal"] == "2024:05:06 07:08:09"
        assert file.pages.first.tags["GPSTag"].value["GPSLatitudeRef"] == "N"


def test_every_page_is_read_and_written(tmp_path: Path) -> None:
    pages = [noise(6, 9, 3), noise(5, 4, bits=8), noise(7, 7, 4), noise(3, 3)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, photometric="rgb" if page.ndim == 3 else "minisblack", metadata=None)
    picture = read_picture(tmp_path / "a.tif")
    assert [frame.colour.dtype for frame in picture.frames] == [np.uint16, np.uint8, np.uint16, np.uint16]
    assert [frame.grey for frame in picture.frames] == [False, True, False, True]
    assert picture.animation is None
    write_picture(tmp_path / "b.tif", picture)
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        for page, written in zip(pages, file.pages, strict=True):
            assert np.array_equal(written.asarray(), page)


def test_pages_of_a_multi_page_file_are_not_dropped_silently(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", noise(2, 6, 9, 3, bits=8), photometric="rgb")
    picture = read_picture(tmp_path / "a.tif")
    for suffix in (".png", ".jpg", ".webp"):
        with pytest.raises(ImageError, match="holds no pages, and the picture has 2"):
            write_picture(tmp_path / f"b{suffix}", picture)
    with pytest.raises(ImageError, match="2 pages, one is needed"):
        read_rgb(tmp_path / "a.tif")


def test_thumbnails_and_masks_are_no_pages(tmp_path: Path) -> None:
    whole = noise(8, 8, 3)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(noise(2, 2, 3), photometric="rgb", subfiletype=1, metadata=None)
        file.write(whole, photometric="rgb", metadata=None)
        file.write(noise(8, 8), photometric="minisblack", subfiletype=2, metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[2].tags["NewSubfileType"].overwrite(4)
    picture = read_picture(tmp_path / "a.tif")
    assert picture.further == ()
    assert np.array_equal(picture.colour, whole)
    assert image_size(tmp_path / "a.tif") == (8, 8)


@pytest.mark.parametrize("kind", ["int16", "uint32"])
def test_samples_without_a_fixed_range_are_refused(tmp_path: Path, kind: str) -> None:
    write(tmp_path / "a.tif", np.ones((4, 4), kind), photometric="minisblack")
    for read in (read_picture, image_size):
        with pytest.raises(ImageError, match=rf"a\.tif: its samples are {kind} numbers"):
            read(tmp_path / "a.tif")


def test_lab_of_16_bits_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", noise(4, 4, 3), photometric="cielab")
    with pytest.raises(ImageError, match="CIELAB of 16 bits"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.97])
def test_a_cut_off_file_is_never_half_read(
    tmp_path: Path, compression: str | None, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.tif", noise(64, 64, 3), photometric="rgb", compression=compression, rowsperstrip=8)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=r"a\.tif.*damaged"):
        read_picture(path)
    assert capfd.readouterr().err == ""


def test_strips_that_were_never_written_are_missing_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(64, 64, 3), photometric="rgb", compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(path, mode="r+") as file:
        tag = file.pages.first.tags["StripByteCounts"]
        tag.overwrite((0, *tag.value[1:]))
    with pytest.raises(ImageError, match="pixels are missing"):
        read_picture(path)


def test_too_many_pages_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.tif", noise(3, 10, 10, 3), photometric="rgb")
    monkeypatch.setattr("adaptsr_cli.io.faults.MAX_PIXELS", 299)
    with pytest.raises(ImageError, match="300 pixels are more than 299"):
        read_picture(tmp_path / "a.tif")


def test_random_damage_gives_a_picture_or_an_image_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    whole = write(tmp_path / "whole.tif", noise(24, 24, 3), photometric="rgb", compression="zlib").read_bytes()
    for _ in range(150):
        bad = bytearray(whole)
        for place in rng.integers(0, min(len(bad), 250), 3):
            bad[place] = rng.integers(256)
        (tmp_path / "a.tif").write_bytes(bad)
        with suppress(ImageError):
            assert read_picture(tmp_path / "a.tif").colour.dtype in (np.uint8, np.uint16)
    assert capfd.readouterr().err == ""
