"""Colours of files are kept, converted or refused, and never given another meaning in silence."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import pytest
import tifffile
from PIL import Image, ImageCms
from readers import png_16_bit, png_chunk, png_chunks

from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.colour.convert import LINEAR_REMARK, to_srgb
from adaptsr_cli.io.colour.icc import make_grey_profile, make_rgb_profile, read_space
from adaptsr_cli.io.images import check_writable, list_changes, read_picture, read_rgb, write_picture
from adaptsr_cli.io.photographs import read_photograph
from adaptsr_cli.io.pictures import Picture, to_8_bit

D65 = (0.3127, 0.3290)
P3 = np.array(((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)))
SRGB_ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = make_rgb_profile(D65, np.array(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))), (2.2,))
RAMP = np.stack(np.broadcast_arrays(*np.mgrid[:16, :16] * 16, 99), 2).astype(np.uint8)
P3_CHROMATICITIES = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


def png(samples: np.ndarray, *extra: bytes, colour_type: int = 2, bits: int = 8) -> bytes:
    if samples.dtype == np.uint16:
        return png_16_bit(samples, colour_type, b"".join(extra))
    height, width = samples.shape[:2]
    per = 8 // bits
    packed = samples.reshape(height, -1)
    if bits < 8:
        shifts = 8 - bits * (1 + np.arange(width) % per)
        packed = np.add.reduceat(packed.astype(int) << shifts, np.arange(0, width, per), axis=1).astype(np.uint8)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    parts = (head, *extra, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def gamma(value: int) -> bytes:
    return png_chunk(b"gAMA", struct.pack(">I", value))


def primaries(*values: int) -> bytes:
    return png_chunk(b"cHRM", struct.pack(">8I", *values))


def in_srgb(path: Path) -> np.ndarray:
    """What a colour-managed viewer shows."""
    with Image.open(path) as image:
        icc = image.info.get("icc_profile")
        if icc is None:
            return np.asarray(image.convert("RGB")).astype(int)
        source = ImageCms.ImageCmsProfile(BytesIO(icc))
        shown = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return np.asarray(shown).astype(int)


def encode_srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jxl"])
@pytest.mark.parametrize("deep", [False, True])
def test_linear_light_of_a_png_becomes_what_a_network_knows(suffix: str, deep: bool, tmp_path: Path) -> None:
    samples = RAMP.astype(np.uint16) * 257 if deep else RAMP
    (tmp_path / "a.png").write_bytes(png(samples, gamma(100_000)))
    picture = read_picture(tmp_path / "a.png")
    assert LINEAR_REMARK in picture.remarks
    most = np.iinfo(samples.dtype).max
    assert np.abs(picture.colour - most * encode_srgb(samples / most)).max() <= 1
    write_picture(tmp_path / f"b{suffix}", picture, quality=100)
    again = read_picture(tmp_path / f"b{suffix}")
    assert np.abs(again.colour / np.iinfo(again.colour.dtype).max - picture.colour / most).max() < 0.003


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp", ".bmp", ".avif", ".heic", ".jxl"])
def test_primaries_of_a_png_are_described_or_converted(suffix: str, tmp_path: Path) -> None:
    flat = np.full((16, 16, 3), (200, 60, 60), np.uint8)
    (tmp_path / "a.png").write_bytes(png(flat, gamma(45_455), primaries(*P3_CHROMATICITIES)))
    picture = read_picture(tmp_path / "a.png")
    assert np.array_equal(picture.colour, flat)
    path = tmp_path / f"b{suffix}"
    write_picture(path, picture, quality=100)
    theirs = imagecodecs.cms_profile(
        "rgb", whitepoint=[*D65, 1.0], primaries=[value for x, y in P3 for value in (x, y, 1.0)], gamma=2.2
    )
    shown_there = imagecodecs.cms_transform(flat, theirs, imagecodecs.cms_profile("srgb"), colorspace="rgb")
    wanted = shown_there[8, 8].astype(int)
    found = read_picture(path)
    if suffix == ".bmp":
        assert "converted to sRGB" in " ".join(list_changes(path, picture))
        assert found.icc is None
        shown = found.colour[8, 8]
    else:
        assert list_changes(path, picture) == []
        assert found.icc == picture.icc
        write_picture(tmp_path / "shown.bmp", found)
        shown = read_picture(tmp_path / "shown.bmp").colour[8, 8]
    assert np.abs(shown.astype(int) - wanted).max() <= 4


@pytest.mark.parametrize(
    "chunks",
    [
        (gamma(45_455),),
        (gamma(45_455), primaries(31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        (png_chunk(b"sRGB", b"\0"), gamma(100_000)),
        (png_chunk(b"cICP", bytes((1, 13, 0, 1))), gamma(100_000)),
    ],
)
def test_what_says_srgb_needs_no_profile(chunks: tuple[bytes, ...], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(RAMP, *chunks))
    picture = read_picture(tmp_path / "a.png")
    assert (picture.icc, picture.cicp, picture.remarks) == (None, None, ())
    assert np.array_equal(picture.colour, RAMP)


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_kept_where_it_can_be_and_refused_by_name(deep: bool, transfer: int, tmp_path: Path) -> None:
    samples = RAMP.astype(np.uint16) * 257 if deep else RAMP
    points = (9, transfer, 0, 1)
    (tmp_path / "a.png").write_bytes(png(samples, png_chunk(b"cICP", bytes(points))))
    picture = read_picture(tmp_path / "a.png")
    assert picture.cicp == points
    assert np.array_equal(picture.colour, samples)
    for suffix in (".png", ".avif", ".heic"):
        path = tmp_path / f"b{suffix}"
        check_writable(path, picture, 16, 16)
        write_picture(path, picture, quality=100)
        assert read_picture(path).cicp == points
    assert dict(png_chunks((tmp_path / "b.png").read_bytes()))[b"cICP"] == bytes(points)
    for suffix in (".jpg", ".webp", ".tif", ".bmp", ".jxl"):
        with pytest.raises(ImageError, match=r"HDR \((PQ|HLG)\)") as caught:
            check_writable(tmp_path / f"c{suffix}", picture, 16, 16)
        assert ".avif" in caught.value.hint
    with pytest.raises(ImageError, match="HDR"):
        read_rgb(tmp_path / "a.png")
    with pytest.raises(ImageError, match="HDR"):
        read_photograph(tmp_path / "a.png")


def test_code_points_of_heic_become_a_profile_in_a_jpeg_and_in_pairs(tmp_path: Path) -> None:
    heif = pillow_heif.from_bytes("RGB", (16, 16), RAMP.tobytes())
    heif.save(tmp_path / "a.heic", quality=100, chroma=444, color_primaries=12, transfer_characteristic=13)
    picture = read_picture(tmp_path / "a.heic")
    assert picture.cicp == (12, 13, 0, 1)
    write_picture(tmp_path / "b.jpg", picture)
    found = read_picture(tmp_path / "b.jpg").icc
    assert found is not None
    assert read_photograph(tmp_path / "a.heic").icc == found
    write_picture(tmp_path / "b.avif", picture)
    assert read_picture(tmp_path / "b.avif").cicp == (12, 13, 0, 1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("key", ["black", "white"])
def test_a_key_of_grey_is_transparent_at_every_depth(bits: int, key: str, tmp_path: Path) -> None:
    most = (1 << bits) - 1
    samples = np.zeros((8, 16), np.uint8)
    samples[2:6, 4:12] = most
    wanted = samples != (most if key == "white" else 0)
    chunk = png_chunk(b"tRNS", struct.pack(">H", most if key == "white" else 0))
    (tmp_path / "a.png").write_bytes(png(samples[..., None], chunk, colour_type=0, bits=bits))
    alpha = read_picture(tmp_path / "a.png").alpha
    assert alpha is not None
    assert np.array_equal(alpha, 255 * wanted.astype(np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif", ".heic", ".jxl"])
def test_grey_with_a_profile_of_colour_is_written_as_colour(suffix: str, tmp_path: Path) -> None:
    Image.fromarray(RAMP[..., 0]).save(tmp_path / "a.jpg", icc_profile=SRGB_ICC, quality=95)
    picture = read_picture(tmp_path / "a.jpg")
    write_picture(tmp_path / f"b{suffix}", picture, quality=100)
    found = read_picture(tmp_path / f"b{suffix}")
    assert not found.grey
    assert found.icc == SRGB_ICC


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif", ".heic", ".jxl", ".bmp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_with_its_own_profile_keeps_its_shades(suffix: str, dtype: type[np.generic], tmp_path: Path) -> None:
    levels = np.rint(np.linspace(0.1, 0.9, 256).reshape(16, 16, 1) * np.iinfo(dtype).max).astype(dtype)
    picture = Picture(levels.repeat(3, axis=2), grey=True, icc=make_grey_profile((1.8,)))
    path = tmp_path / f"a{suffix}"
    write_picture(path, picture, quality=100)
    found = read_picture(path)
    kept = suffix in {".png", ".jpg", ".tif"}
    assert (found.icc == picture.icc) if kept else (found.icc is None)
    assert bool(list_changes(path, picture)[-1:] == []) is (kept and (suffix != ".jpg" or dtype == np.uint8))
    shown = found.colour[..., 0] / np.iinfo(found.colour.dtype).max
    wanted = np.linspace(0.1, 0.9, 256).reshape(16, 16)
    assert np.abs(shown - (wanted if kept else encode_srgb(wanted**1.8))).max() < 0.03


@pytest.mark.parametrize(
    ("icc", "word"),
    [
        (make_grey_profile((2.2,)), "for GRAY"),
        (SRGB_ICC[:16] + b"CMYK" + SRGB_ICC[20:], "for CMYK"),
        (b"nothing" * 60, "damaged"),
        (SRGB_ICC[:200], "damaged"),
    ],
)
def test_a_profile_that_does_not_fit_is_left_out_and_that_is_said(icc: bytes, word: str, tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.jpg", icc_profile=icc)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.icc is None
    assert word in picture.remarks[0]


@pytest.mark.parametrize("deep", [False, True])
def test_linear_profiles_are_exchanged_and_gamma_ones_kept(deep: bool, tmp_path: Path) -> None:
    samples = RAMP.astype(np.uint16) * 257 if deep else RAMP
    for name, exponent in (("linear", 1.0), ("coded", 1.8)):
        icc = make_rgb_profile(D65, P3, (exponent,))
        tifffile.imwrite(tmp_path / f"{name}.tif", samples, photometric="rgb", iccprofile=icc, metadata=None)
    coded, linear = read_picture(tmp_path / "coded.tif"), read_picture(tmp_path / "linear.tif")
    assert np.array_equal(coded.colour, samples)
    assert coded.remarks == ()
    assert LINEAR_REMARK in linear.remarks
    assert linear.icc is not None
    if not deep:
        write_picture(tmp_path / "b.png", linear)
        assert np.abs(in_srgb(tmp_path / "b.png") - in_srgb(tmp_path / "linear.tif"))[4:, 4:].mean() < 2


def test_cmyk_is_converted_at_both_depths_and_with_any_arrangement(tmp_path: Path) -> None:
    ink = np.random.default_rng(0).integers(0, 256, (8, 9, 4), dtype=np.uint8)
    with_light = (255 - ink.astype(int))[..., :3] * (255 - ink[..., 3:].astype(int)) / 255
    for dtype, factor in ((np.uint8, 1), (np.uint16, 257)):
        for planar in ("contig", "separate"):
            stored = ink.astype(dtype) * dtype(factor)
            stored = np.moveaxis(stored, 2, 0) if planar == "separate" else stored
            path = tmp_path / f"{dtype.__name__}{planar}.tif"
            tifffile.imwrite(path, stored, photometric="separated", planarconfig=planar, metadata=None)
            picture = read_picture(path)
            assert picture.colour.dtype == dtype
            assert np.abs(picture.colour / factor - with_light).max() <= 1


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_from_0_to_1_are_read_as_16_bits(dtype: str, tmp_path: Path) -> None:
    values = np.linspace(0, 1, 300).reshape(10, 10, 3).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", predictor=True, compression="zlib", metadata=None)
    picture = read_picture(tmp_path / "a.tif")
    assert np.abs(picture.colour / 65535 - values.astype(float)).max() < 1e-3
    assert "floating-point" in picture.remarks[0]
    for wrong in (values * 2, values - 0.5, np.full_like(values, np.nan)):
        tifffile.imwrite(tmp_path / "b.tif", wrong, photometric="rgb", metadata=None)
        with pytest.raises(ImageError, match=r"b\.tif: its floating-point samples reach from"):
            read_picture(tmp_path / "b.tif")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_a_channel_that_is_no_transparency_is_left_out(bits: int, planar: str, tmp_path: Path) -> None:
    samples = np.dstack([RAMP, np.full((16, 16), 99)]).astype(f"uint{bits}")
    stored = np.moveaxis(samples, 2, 0) if planar == "separate" else samples
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, extrasamples=("unspecified",), metadata=None
    )
    picture = read_picture(tmp_path / "a.tif")
    assert picture.alpha is None
    assert np.array_equal(picture.colour, samples[..., :3])
    assert "left out" in picture.remarks[0]


@pytest.mark.parametrize("compression", ["zstd", "lerc", "webp", "jpegxl", "lzma", "deflate"])
def test_rare_compressions_of_tiff_are_read(compression: str, tmp_path: Path) -> None:
    options = {"compressionargs": {"level": 101}} if compression == "webp" else {}
    tifffile.imwrite(
        tmp_path / "a.tif", RAMP, photometric="rgb", compression=compression, tile=(16, 16), metadata=None, **options
    )
    assert np.array_equal(read_picture(tmp_path / "a.tif").colour, RAMP)


def test_a_deep_wide_picture_is_converted_as_a_shallow_one(tmp_path: Path) -> None:
    deep = Picture(RAMP.astype(np.uint16) * 257, icc=ADOBE)
    write_picture(tmp_path / "a.jxl", deep, quality=100)
    write_picture(tmp_path / "a.bmp", Picture(RAMP, icc=ADOBE))
    by_16 = np.rint(imagecodecs.jpegxl_decode((tmp_path / "a.jxl").read_bytes()) / 257)
    assert np.abs(by_16 - imagecodecs.bmp_decode((tmp_path / "a.bmp").read_bytes())).max() <= 2
    assert read_space(ADOBE) == "RGB"


@pytest.mark.parametrize("index", ["R03", "R98"])
def test_adobe_rgb_that_only_exif_tells_of_gets_its_profile(index: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 65535
    exif.get_ifd(0x8769)[0xA005] = {1: index}
    Image.fromarray(RAMP).save(tmp_path / "a.jpg", exif=exif, quality=95)
    picture = read_picture(tmp_path / "a.jpg")
    if index == "R98":
        assert (picture.icc, picture.remarks) == (None, ())
        return
    assert picture.icc is not None
    assert "Adobe RGB" in picture.remarks[0]
    assert np.abs(to_srgb(RAMP, picture.icc).astype(int) - to_srgb(RAMP, ADOBE)).max() <= 1


def test_an_apple_profile_of_hdr_is_known_by_its_tag(tmp_path: Path) -> None:
    body = bytearray(make_rgb_profile(D65, P3, (2.2,)))
    count = struct.unpack_from(">I", body, 128)[0]
    tag = b"cicp" + bytes(4) + bytes((12, 16, 0, 1))
    shifted = bytearray(
        body[:128] + struct.pack(">I", count + 1) + body[132 : 132 + 12 * count] + bytes(12) + body[132 + 12 * count :]
    )
    for entry in range(count):
        offset = struct.unpack_from(">I", shifted, 132 + 12 * entry + 4)[0]
        struct.pack_into(">I", shifted, 132 + 12 * entry + 4, offset + 12)
    struct.pack_into(">4sII", shifted, 132 + 12 * count, b"cicp", len(shifted), len(tag))
    icc = bytes(shifted) + tag
    icc = struct.pack(">I", len(icc)) + icc[4:]
    Image.fromarray(RAMP).save(tmp_path / "a.png", icc_profile=icc)
    picture = read_picture(tmp_path / "a.png")
    assert (picture.icc, picture.cicp) == (None, (12, 16, 0, 1))
    with pytest.raises(ImageError, match="PQ"):
        check_writable(tmp_path / "b.jpg", picture, 16, 16)


@pytest.mark.parametrize("chunk", [primaries(*[0] * 8), primaries(31270, 32900, *[33333] * 6), gamma(1)])
def test_nonsense_in_a_png_is_left_out_and_that_is_said(chunk: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(RAMP, chunk))
    picture = read_picture(tmp_path / "a.png")
    assert picture.icc is None
    assert np.array_equal(picture.colour, RAMP)
    assert "is damaged" in picture.remarks[0]


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_a_profile_of_rgb_in_a_file_of_ink_is_left_out_and_that_is_said(suffix: str, tmp_path: Path) -> None:
    ink = Image.fromarray(RAMP).convert("CMYK")
    ink.save(tmp_path / f"a{suffix}", icc_profile=SRGB_ICC, **({"quality": 95} if suffix == ".jpg" else {}))
    deep = np.asarray(ink).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "b.tif", deep, photometric="separated", iccprofile=SRGB_ICC, metadata=None)
    for path in (tmp_path / f"a{suffix}", tmp_path / "b.tif"):
        picture = read_picture(path)
        assert picture.icc is None
        assert "not for CMYK" in picture.remarks[0]
        assert np.abs(to_8_bit(picture.colour).astype(int) - RAMP).mean() < 4


def test_lab_keeps_its_colours(tmp_path: Path) -> None:
    lab = np.broadcast_to(np.array((160, 60, 40), np.uint8), (8, 8, 3))  # L* 63, a* 60, b* 40
    tifffile.imwrite(tmp_path / "a.tif", np.ascontiguousarray(lab), photometric="cielab", metadata=None)
    picture = read_picture(tmp_path / "a.tif")
    assert not picture.grey
    assert picture.colour[4, 4, 0] > picture.colour[4, 4, 1] + 100


def test_ink_with_an_alpha_channel_is_read(tmp_path: Path) -> None:
    ink = np.asarray(Image.fromarray(RAMP).convert("CMYK"))
    for kind in ("unassalpha", "unspecified"):
        layers = np.dstack([ink, RAMP[..., 0]])
        tifffile.imwrite(tmp_path / "a.tif", layers, photometric="separated", extrasamples=(kind,), metadata=None)
        picture = read_picture(tmp_path / "a.tif")
        assert np.abs(picture.colour.astype(int) - RAMP).max() <= 1
        assert (picture.alpha is None) is (kind == "unspecified")
