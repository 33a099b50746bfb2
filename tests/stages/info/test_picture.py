"""`info` of an image: what it is, what goes with it, and what made it; of every format that is read."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import Command, noise
from networks import save_tiny
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

from adaptsr_cli.errors import ArtifactError, ImageError
from adaptsr_cli.io.formats.table import WRITE_SUFFIXES, find_by_suffix
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.stages.info.describe import Facts
from adaptsr_cli.stages.info.stage import describe_file


def make_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112], exif[0x0131] = "Canon", "EOS 5D", 6, "GIMP 2.10"
    exif.get_ifd(0x8769).update({0x9003: "2024:05:06 07:08:09", 0x920A: TiffImagePlugin.IFDRational(17, 4), 0xA405: 26})
    exif.get_ifd(0x8825)[1] = "N"
    return exif


def image(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(noise(16, 24, 3)).convert(mode)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunks(path: Path, *chunks: bytes) -> None:
    """Puts chunks behind the head of a PNG."""
    data = path.read_bytes()
    path.write_bytes(data[:33] + b"".join(chunks) + data[33:])


def test_a_photograph(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image().save(path, exif=make_exif(), dpi=(300, 300), comment="hello", progressive=True, icc_profile=profile)
    facts = describe_file(path)
    assert facts.pop("holds").startswith("EXIF (")
    assert facts == {
        "file": str(path),
        "size": facts["size"],
        "kind": "image, JPEG",
        "pixels": "16 x 24",
        "channels": "RGB, 8 bits",
        "stored": "progressive",
        "colour": "profile sRGB built-in",
        "camera": "Canon EOS 5D",
        "taken": "2024-05-06 07:08:09",
        "focal length": "4.25 mm (26 mm on 24 x 36 mm)",
        "position": "in EXIF (GPS)",
        "orientation": "turned right",
        "resolution": "300 dpi",
        "software": "GIMP 2.10",
    }


def colours_of_png(path: Path) -> Facts:
    write_rgb(path, noise(8, 8, 3))
    with_chunks(path, chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"cICP", bytes((9, 16, 0, 1))))
    return describe_file(path)


def texts_of_png(path: Path) -> Facts:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "x")
    texts.add_text("Raw profile type iptc", "\niptc\n       0\n\n")
    image("LA").save(path, pnginfo=texts, dpi=(72, 96))
    return describe_file(path)


def pages_of_tiff(path: Path) -> Facts:
    keys = (1, 1, 0, 1, 3072, 0, 1, 25832)
    extra = [(34735, "H", len(keys), keys, True), (33723, "B", 4, b"\x1c\x02\0\0", True)]
    tifffile.imwrite(
        path, np.zeros((2, 8, 9), np.float32), photometric="minisblack", resolution=(100, 100), resolutionunit=3,
        extratags=extra,
    )  # fmt: skip
    return describe_file(path)


def channels_of_tiff(path: Path) -> Facts:
    tifffile.imwrite(
        path, np.zeros((5, 8, 9), np.uint16), photometric="rgb", planarconfig="separate", extrasamples=(2, 0),
        compression="deflate",
    )  # fmt: skip
    return describe_file(path)


def frames_of_gif(path: Path) -> Facts:
    image("P").save(path, save_all=True, append_images=[image("L").convert("P")])
    return describe_file(path)


def grey_cmyk(path: Path) -> Facts:
    image("CMYK").save(path)
    return describe_file(path)


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (colours_of_png, "a.png", {"colour": "gAMA 1.00000; BT.2020, PQ (9, 16, 0, 1)"}),
        (
            texts_of_png,
            "a.png",
            {
                "channels": "grey with transparency, 8 bits",
                "resolution": "72 x 96 dpi",
                "holds": "IPTC, texts (Title, Raw profile type iptc)",
            },
        ),
        (
            pages_of_tiff,
            "a.tif",
            {
                "channels": "grey, 32 bits, floating point",
                "pictures": "2 pages",
                "resolution": "254 dpi",
                "coordinates": "EPSG:25832",
                "software": "tifffile.py",
            },
        ),
        (
            channels_of_tiff,
            "a.tif",
            {
                "channels": "RGB with transparency, 16 bits",
                "stored": "compression deflate, planes, 1 further channel",
            },
        ),
        (frames_of_gif, "a.gif", {"pictures": "2 frames", "channels": "palette, 8 bits"}),
        (grey_cmyk, "a.jpg", {"channels": "CMYK, 8 bits", "colour": "not said: shown as sRGB"}),
    ],
)
def test_kinds_of_files(make: Callable[[Path], Facts], name: str, expected: Facts, tmp_path: Path) -> None:
    facts = make(tmp_path / name)
    assert {what: facts.get(what) for what in expected} == expected
    assert "damage" not in facts


@pytest.mark.parametrize("suffix", sorted(WRITE_SUFFIXES))
def test_every_format_that_is_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    write_rgb(path, noise(18, 24, 3))
    kind = find_by_suffix(suffix)
    assert kind is not None
    facts = describe_file(path)
    assert facts["kind"] == f"image, {kind.name}"
    assert (facts["pixels"], facts["channels"]) == ("24 x 18", "RGB, 8 bits")
    assert "damage" not in facts
    path.rename(tmp_path / "a")
    assert describe_file(tmp_path / "a")["kind"] == f"image, {kind.name}, though its name ends in nothing"


def test_what_made_a_result_is_told(adaptsr: Command) -> None:
    save_tiny("span_x2", Path("m.safetensors"))
    write_rgb(Path("a.png"), noise(9, 8, 3))
    words = ("upscale", "a.png", "--model", "m.safetensors", "--device", "cpu", "--precision", "fp32")
    assert adaptsr(*words, "-o", "b.jpg", "--ensemble", "-s", "3").code == 0
    done = adaptsr("info", "b.jpg", "--json")
    assert done.code == 0, done.err
    made = json.loads(done.out)["files"][0]["made by"]
    assert made.startswith("adaptsr 0.")
    assert ": upscaled x3 by SPAN x2 (weights sha256 " in made
    assert made.endswith(") in fp32 with ensemble at quality 95")


def test_damage_is_told(tmp_path: Path) -> None:
    write_rgb(tmp_path / "a.jpg", noise(64, 64, 3))
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:-100])
    assert "damage" in describe_file(tmp_path / "a.jpg")
    write_rgb(tmp_path / "a.png", noise(64, 64, 3))
    broken = bytearray((tmp_path / "a.png").read_bytes())
    broken[200] ^= 1
    (tmp_path / "a.png").write_bytes(broken)
    assert "damage" in describe_file(tmp_path / "a.png")


def test_what_is_no_image_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no")
    with pytest.raises(ImageError, match="not an image of a known format"):
        describe_file(tmp_path / "text.png")
    with pytest.raises(ArtifactError, match="does not exist"):
        describe_file(tmp_path / "none.png")


def test_one_of_several_files_fails_alone(adaptsr: Command) -> None:
    write_rgb(Path("a.png"), noise(9, 8, 3))
    Path("text.png").write_text("no")
    Path("folder").mkdir()
    done = adaptsr("info", "text.png", "a.png", "folder", "none.json")
    assert done.code == 1
    assert "image, PNG" in done.out
    for text in ("text.png", "folder", "none.json does not exist"):
        assert text in done.err
    report = json.loads(adaptsr("info", "text.png", "a.png", "--json").out)
    assert [entry["file"] for entry in report["failed"]] == ["text.png"]
