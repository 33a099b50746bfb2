from __future__ import annotations

import io
import os
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from conftest import noise
from PIL import Image, ImageCms, ImageOps

from adaptsr_cli.errors import AdaptsrError, ImageError
from adaptsr_cli.io import faults
from adaptsr_cli.io.colour.icc import make_grey_profile
from adaptsr_cli.io.images import (
    check_writable,
    decode_rgb,
    encode_jpeg,
    holds_16_bit,
    image_size,
    list_images,
    read_picture,
    read_rgb,
    resize,
    resize_bicubic,
    write_picture,
    write_rgb,
)
from adaptsr_cli.io.pictures import Picture


def test_an_rgb_picture_survives_writing_and_reading_in_every_lossless_format(tmp_path: Path) -> None:
    rgb = noise(11, 7, 3)
    for suffix in (".png", ".tif", ".tiff", ".bmp", ".PNG"):
        path = tmp_path / f"фото ü{suffix}"
        write_rgb(path, rgb)
        read = read_picture(path)
        assert np.array_equal(read.colour, rgb)
        assert (read.alpha, read.grey, read.further, read.animation) == (None, False, (), None)
    write_rgb(tmp_path / "lossless.webp", rgb, quality=100)
    assert np.array_equal(read_rgb(tmp_path / "lossless.webp"), rgb)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_lossy_formats_come_back_nearly_the_same(tmp_path: Path, suffix: str) -> None:
    ramp = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    rgb = np.dstack([ramp, ramp[::-1], np.full_like(ramp, 90)])
    write_rgb(tmp_path / f"a{suffix}", rgb)
    difference = np.abs(read_rgb(tmp_path / f"a{suffix}").astype(int) - rgb)
    assert difference.mean() < 2
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.format == {".jpg": "JPEG", ".webp": "WEBP", ".avif": "AVIF"}[suffix]


def test_grey_is_repeated_to_three_channels_and_written_as_grey(tmp_path: Path) -> None:
    grey = noise(5, 6)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    picture = read_picture(tmp_path / "grey.png")
    assert picture.grey
    assert np.array_equal(picture.colour, grey[..., None].repeat(3, axis=2))
    for suffix in (".png", ".jpg", ".tif", ".bmp"):
        write_picture(tmp_path / f"out{suffix}", picture)
        with Image.open(tmp_path / f"out{suffix}") as image:
            assert image.mode == "L"


def test_alpha_is_kept_for_rgba_and_grey_alpha(tmp_path: Path) -> None:
    for mode, channels in (("RGBA", 4), ("LA", 2)):
        samples = noise(5, 6, channels)
        Image.fromarray(samples).save(tmp_path / f"{mode}.png")
        picture = read_picture(tmp_path / f"{mode}.png")
        assert picture.alpha is not None
        assert np.array_equal(picture.alpha, samples[..., -1])
        assert picture.grey == (mode == "LA")
        assert np.array_equal(picture.colour[..., 0], samples[..., 0])
        write_picture(tmp_path / "again.png", picture)
        with Image.open(tmp_path / "again.png") as image:
            assert image.mode == mode
            assert np.array_equal(np.asarray(image), samples)


def test_colour_under_full_transparency_survives_lossless_webp(tmp_path: Path) -> None:
    colour, alpha = noise(8, 8, 3), np.zeros((8, 8), np.uint8)
    write_picture(tmp_path / "a.webp", Picture(colour, alpha), quality=100)
    assert np.array_equal(read_picture(tmp_path / "a.webp").colour, colour)


def test_palette_with_transparency_becomes_colour_and_alpha(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    image.save(tmp_path / "one.png", transparency=1)
    image.save(tmp_path / "many.png", transparency=bytes([10, 20, 255]))
    one, many = read_picture(tmp_path / "one.png"), read_picture(tmp_path / "many.png")
    assert one.colour.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    assert one.alpha is not None
    assert one.alpha.tolist() == [[255, 0, 255]]
    assert many.alpha is not None
    assert many.alpha.tolist() == [[10, 20, 255]]


def test_palette_without_transparency_has_no_alpha(tmp_path: Path) -> None:
    Image.fromarray(noise(6, 6, 3)).quantize(4).save(tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as image:
        assert image.mode == "P"
    assert read_picture(tmp_path / "p.png").alpha is None


def test_a_colour_key_becomes_alpha(tmp_path: Path) -> None:
    rgb = np.zeros((1, 2, 3), np.uint8)
    rgb[0, 1] = (1, 2, 3)
    Image.fromarray(rgb).save(tmp_path / "key.png", transparency=(1, 2, 3))
    picture = read_picture(tmp_path / "key.png")
    assert picture.alpha is not None
    assert picture.alpha.tolist() == [[255, 0]]


def test_one_bit_pictures_are_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1").save(tmp_path / "bit.png")
    picture = read_picture(tmp_path / "bit.png")
    assert picture.grey
    assert picture.colour[..., 0].tolist() == [[0, 255], [255, 0]]


def test_cmyk_is_read_as_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (2, 2), (255, 0, 0, 0)).save(tmp_path / "ink.tif")
    assert read_picture(tmp_path / "ink.tif").colour[0, 0].tolist() == [0, 255, 255]
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "ink.jpg", quality=100)
    assert np.abs(read_rgb(tmp_path / "ink.jpg")[4, 4].astype(int) - [255, 0, 0]).max() < 6


def test_cmyk_with_a_damaged_profile_is_refused(tmp_path: Path) -> None:
    Image.new("CMYK", (2, 2)).save(tmp_path / "ink.tif", icc_profile=b"no profile at all" * 20)
    with pytest.raises(ImageError, match=r"ink\.tif.*profile is damaged"):
        read_picture(tmp_path / "ink.tif")


def test_lab_is_converted_to_srgb(tmp_path: Path) -> None:
    Image.new("LAB", (2, 2), (255, 128, 128)).save(tmp_path / "lab.tif")
    picture = read_picture(tmp_path / "lab.tif")
    assert picture.icc is None
    assert picture.colour.min() > 250  # L = 100 is white


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_profile_and_exif_survive(tmp_path: Path, suffix: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "Acme"
    exif.get_ifd(0x8769)[0x829A] = 0.01
    Image.fromarray(noise(16, 16, 3)).save(tmp_path / "in.jpg", icc_profile=profile, exif=exif)
    picture = read_picture(tmp_path / "in.jpg")
    write_picture(tmp_path / f"out{suffix}", picture)
    again = read_picture(tmp_path / f"out{suffix}")
    assert picture.icc == again.icc == profile
    assert again.exif is not None
    kept = Image.Exif()
    kept.load(again.exif)
    assert kept[0x010F] == "Acme"
    assert float(kept.get_ifd(0x8769)[0x829A]) == pytest.approx(0.01)


def test_makers_notes_keep_every_byte(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x927C] = bytes(range(200))
    source = exif.tobytes()
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "in.jpg", exif=source)
    kept = read_picture(tmp_path / "in.jpg").exif
    assert kept is not None
    assert len(kept) == len(source)
    assert sum(a != b for a, b in zip(kept, source, strict=True)) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_orientation_is_applied_and_cleared(tmp_path: Path, orientation: int, suffix: str) -> None:
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :16] = 250  # bright at the stored top left
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned{suffix}"
    Image.fromarray(stored).save(path, exif=exif, quality=100)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = read_picture(path)
    assert np.array_equal(picture.colour, expected)
    assert image_size(path) == (expected.shape[1], expected.shape[0])
    write_picture(tmp_path / "again.png", picture)
    assert np.array_equal(read_rgb(tmp_path / "again.png"), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_does_not_spoil_the_picture(tmp_path: Path) -> None:
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12")
    assert read_picture(tmp_path / "a.jpg").colour.shape == (8, 8, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".avif"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_file_is_named_and_never_half_read(tmp_path: Path, suffix: str, share: float) -> None:
    write_rgb(tmp_path / f"whole{suffix}", noise(64, 64, 3))
    data = (tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=f"cut{suffix}") as caught:
        read_picture(path)
    assert caught.value.hint


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_gives_a_picture_or_an_image_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a.png"
    for suffix in (".png", ".jpg", ".webp", ".bmp"):
        write_rgb(tmp_path / f"whole{suffix}", noise(24, 24, 3))
        data = bytearray((tmp_path / f"whole{suffix}").read_bytes())
        for _ in range(60):
            bad = bytearray(data)
            for place in rng.integers(0, min(len(bad), 200), 4):
                bad[place] = rng.integers(256)
            path.write_bytes(bad)
            with suppress(ImageError):
                assert read_picture(path).colour.dtype in (np.uint8, np.uint16)


def test_what_is_no_image_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    for name, reason in (("text.png", "not an image"), ("empty.png", "empty"), ("missing.png", "No such file")):
        with pytest.raises(ImageError, match=rf"{name}.*{reason}"):
            read_rgb(tmp_path / name)
        with pytest.raises(ImageError, match=name):
            image_size(tmp_path / name)
    with pytest.raises(ImageError):
        read_rgb(tmp_path)


def test_32_bit_samples_beyond_white_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 12.5, np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ImageError, match=r"float\.tif.*from 12\.5 to 12\.5"):
        read_picture(tmp_path / "float.tif")


def test_a_large_picture_is_read_and_an_absurd_one_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rgb(tmp_path / "a.png", noise(20, 20, 3))
    monkeypatch.setattr(faults, "MAX_PIXELS", 399)
    with pytest.raises(ImageError, match="more than 399 pixels"):
        read_rgb(tmp_path / "a.png")
    monkeypatch.setattr(faults, "MAX_PIXELS", 400)
    assert read_rgb(tmp_path / "a.png").shape == (20, 20, 3)
    monkeypatch.undo()
    Image.new("1", (12_000, 12_000)).save(tmp_path / "panorama.png")  # beyond Pillow's own warning
    assert image_size(tmp_path / "panorama.png") == (12_000, 12_000)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_transparency_is_not_dropped_silently(tmp_path: Path, suffix: str) -> None:
    alpha = np.full((4, 4), 255, np.uint8)
    write_picture(tmp_path / f"opaque{suffix}", Picture(noise(4, 4, 3), alpha))
    alpha[0, 0] = 254
    with pytest.raises(ImageError, match=r"transparency"):
        write_picture(tmp_path / f"a{suffix}", Picture(noise(4, 4, 3), alpha))
    assert not (tmp_path / f"a{suffix}").exists()


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"format '\.gif'"):
        write_rgb(tmp_path / "a.gif", noise(4, 4, 3))
    with pytest.raises(ImageError, match="20000 x 1 px are more than the 16,383 px"):
        write_rgb(tmp_path / "a.webp", np.zeros((1, 20_000, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    clear = Picture(noise(4, 4, 3), alpha=np.zeros((4, 4), np.uint8))
    check_writable(tmp_path / "a.png", clear, 16, 16)
    with pytest.raises(ImageError, match="transparency"):
        check_writable(tmp_path / "a.jpg", clear, 16, 16)
    with pytest.raises(ImageError, match="65,500 px"):
        check_writable(tmp_path / "a.jpg", Picture(noise(4, 4, 3)), 16, 65_501)
    with pytest.raises(ImageError, match="format"):
        check_writable(tmp_path / "a.gif", clear, 16, 16)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_16_bits_are_rounded_where_the_format_has_only_8(tmp_path: Path, suffix: str) -> None:
    assert not holds_16_bit(tmp_path / f"a{suffix}")
    wide = np.full((16, 16, 3), 200 * 257 + 128, np.uint16)
    wide[:8] += 1
    write_picture(tmp_path / f"a{suffix}", Picture(wide, np.full((16, 16), 65535, np.uint16)), quality=100)
    read = read_picture(tmp_path / f"a{suffix}").colour.astype(int)
    assert np.abs(read[1] - 201).max() <= 1
    assert np.abs(read[-1] - 200).max() <= 1
    if suffix in {".webp", ".bmp"}:
        assert (read[:8] == 201).all()
        assert (read[8:] == 200).all()


def test_a_grey_profile_does_not_go_into_a_colour_file(tmp_path: Path) -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    picture = Picture(levels, grey=True, icc=make_grey_profile((1.0,)))
    write_picture(tmp_path / "a.webp", picture, quality=100)
    found = read_picture(tmp_path / "a.webp")
    assert found.icc is None
    light = levels / 255  # the numbers are converted, as the profile says what they mean
    wanted = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(found.colour - wanted).max() <= 1


def test_writing_to_an_impossible_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AdaptsrError, match="cannot write"):
        write_rgb(tmp_path / "file" / "a.png", noise(4, 4, 3))


def test_listing_leaves_junk_out(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "._a.jpg", "Thumbs.db", ".DS_Store", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    for name in ("sub/c.webp", "__MACOSX/d.png", ".cache/e.png", "folder.png/f.bmp"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["a.JPG", "b.png"]
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path, recursive=True)]
    assert found == ["a.JPG", "b.png", "folder.png/f.bmp", "sub/c.webp"]
    with pytest.raises(ImageError, match="nowhere"):
        list_images(tmp_path / "nowhere")


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_a_name_of_undecodable_bytes_is_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png"))
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    write_rgb(path, noise(4, 4, 3))
    assert read_rgb(list_images(tmp_path)[0]).shape == (4, 4, 3)


def test_jpeg_in_memory() -> None:
    flat = np.full((16, 16, 3), 120, np.uint8)
    assert np.abs(decode_rgb(encode_jpeg(flat, 90)).astype(int) - 120).max() <= 2
    assert len(encode_jpeg(noise(64, 64, 3), 30)) < len(encode_jpeg(noise(64, 64, 3), 90))
    with pytest.raises(ImageError):
        decode_rgb(b"nothing")


def test_resizing_is_antialiased_and_keeps_the_type() -> None:
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = 200
    small = resize_bicubic(stripes, 4, 4)
    assert small.shape == (4, 4, 3)
    assert np.abs(small.astype(int) - 100).max() < 20  # point sampling would give 0 or 200
    assert np.array_equal(resize(stripes, 4, 4, "area"), np.full((4, 4, 3), 100, np.uint8))
    floats = np.linspace(-1, 2, 16 * 16 * 3, dtype=np.float32).reshape(16, 16, 3)
    shrunk = resize(floats, 4, 8, "area")
    assert shrunk.dtype == np.float32
    assert shrunk == pytest.approx(floats.reshape(8, 2, 4, 4, 3).mean(axis=(1, 3)), abs=1e-5)


def test_reading_in_threads_gives_the_same(tmp_path: Path) -> None:
    for index in range(4):
        write_rgb(tmp_path / f"{index}.png", noise(32, 32, 3, seed=index))
    wrong: list[int] = []

    def read(index: int) -> None:
        if not np.array_equal(read_rgb(tmp_path / f"{index % 4}.png"), noise(32, 32, 3, seed=index % 4)):
            wrong.append(index)

    threads = [threading.Thread(target=read, args=(index,)) for index in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rgb(tmp_path / "a.png", noise(4, 4, 3))
    before = (tmp_path / "a.png").read_bytes()

    def fail(self: Image.Image, target: io.BytesIO, *args: object, **kwargs: object) -> None:
        target.write(b"half")
        raise OSError("encoder error")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(ImageError, match="encoder error"):
        write_rgb(tmp_path / "a.png", noise(4, 4, 3, seed=1))
    assert (tmp_path / "a.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
