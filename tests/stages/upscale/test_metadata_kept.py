"""What goes with a picture from every format into every format, read back by Pillow, tifffile and ExifTool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from networks import save_tiny
from rich_files import (
    DPI,
    WIDTH,
    has_exiftool,
    read_by_exiftool,
    read_facts,
    read_user_comment,
    write_png_text,
    write_rich,
)

from adaptsr_cli.io.encoding import list_losses
from adaptsr_cli.io.images import read_picture, write_picture
from adaptsr_cli.progress import Silent
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.stage import run_upscale

FORMATS = ("jpg", "png", "webp", "avif", "heic", "jxl", "tif", "bmp")
ORDERS = {"ii": "<", "mm": ">"}
GEO = {"PixelScale", "ModelTiePoint", "GDALNoData"}
LOST = {
    "jpg": {"Parameters", *GEO},
    "png": GEO,
    "webp": {"Parameters", "Caption", "Comment", *GEO},
    "avif": {"Parameters", "Caption", "Comment", *GEO},
    "heic": {"Parameters", "Caption", "Comment", *GEO},
    "jxl": {"Parameters", "Caption", "Comment", *GEO},
    "tif": {"Parameters", "Comment"},
}
SAID = {
    "jpg": {"texts", "georeference"},
    "png": {"georeference"},
    "webp": {"IPTC and texts", "IPTC and georeference"},
    "avif": {"IPTC and texts", "IPTC and georeference"},
    "heic": {"IPTC and texts", "IPTC and georeference"},
    "jxl": {"IPTC and texts", "IPTC and georeference"},
    "tif": {"texts"},
    "bmp": {"EXIF, XMP, IPTC and texts", "EXIF and XMP", "EXIF, XMP, IPTC and georeference"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``in/ii_jpg.jpg`` and so on, and x2 of all of them in ``keep/png/``, ``strip/png`` and so on."""
    root = tmp_path_factory.mktemp("kept")
    (root / "in").mkdir()
    for name, order in ORDERS.items():
        for source in FORMATS:
            write_rich(root / "in" / f"{name}_{source}.{source}", order)
    model = save_tiny("span_x2", root / "model.safetensors")
    for mode, more in (("keep", {}), ("strip", {"strip": True}), ("scaled", {"dpi": "scaled"})):
        for ext in FORMATS:
            progress = Silent()
            options = {"output": root / mode / ext, "ext": ext, "suffix": "", "device": "cpu", "precision": "fp32"}
            inputs = sorted((root / "in").glob("*" if mode == "keep" else "ii_*"))
            values = {"run": root / "run", "model": str(model), "inputs": inputs, **options, **more}
            report = run_upscale(UpscaleOptions.of(values), progress=progress)
            assert report.summary == f"{len(inputs)} ok, 0 failed, 0 skipped", progress.warnings
            (root / mode / ext / "notes").write_text("\n".join(progress.notes))
    return root


def present(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def expected(source: dict[str, Any], ext: str) -> dict[str, Any]:
    """What a result must say, by what its source says."""
    if ext == "bmp":
        return {"dpi": source["dpi"]}
    kept = present({name: None if name in LOST[ext] else value for name, value in source.items()})
    for name in ("ExifImageWidth", "XMPWidth"):
        if name in kept:
            kept[name] = type(kept[name])(2 * WIDTH)
    if "PixelScale" in kept:
        kept["PixelScale"] = (5.0, 5.0, 0.0)
    return kept


@pytest.mark.parametrize("ext", ["jpg", "webp", "avif", "heic", "jxl", "tif"])
def test_a_prompt_goes_into_the_comment_of_exif(ext: str, tmp_path: Path) -> None:
    write_png_text(tmp_path / "a.png", parameters="a tree, Steps: 40, grüß")
    picture = read_picture(tmp_path / "a.png")
    assert list_losses(tmp_path / f"a.{ext}", picture) == []
    write_picture(tmp_path / f"a.{ext}", picture)
    assert read_user_comment(tmp_path / f"a.{ext}") == "a tree, Steps: 40, grüß"
    write_png_text(tmp_path / "b.png", parameters="a tree", workflow="{}")
    (lost,) = list_losses(tmp_path / f"b.{ext}", read_picture(tmp_path / "b.png"))
    assert lost.startswith("texts left out")


@pytest.mark.parametrize("ext", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("name", ORDERS)
def test_all_that_the_format_holds_is_there(name: str, source: str, ext: str, folder: Path) -> None:
    before = read_facts(folder / "in" / f"{name}_{source}.{source}")
    assert source == "bmp" or before["Make"] == "Canon"  # there is something to lose
    assert present(read_facts(folder / "keep" / ext / f"{name}_{source}.{ext}")) == expected(before, ext)


@pytest.mark.skipif(not has_exiftool(), reason="ExifTool is not installed")
def test_exiftool_reads_the_same_and_the_makers_notes(folder: Path) -> None:
    sources = [folder / "in" / f"{name}_{source}.{source}" for name in ORDERS for source in FORMATS]
    before = dict(zip(sources, read_by_exiftool(sources), strict=True))
    places = [(path, folder / "keep" / ext / f"{path.stem}.{ext}") for path in sources for ext in FORMATS]
    for (path, target), found in zip(places, read_by_exiftool([target for _, target in places]), strict=True):
        ext = target.suffix[1:]
        lost = {"Caption-Abstract" if name == "Caption" else name for name in LOST.get(ext, before[path])}
        wanted = {name: value for name, value in before[path].items() if name not in lost}
        for name in ("ExifImageWidth", "ImageWidth"):
            if name in wanted:
                wanted[name] = 2 * WIDTH
        if "PixelScale" in wanted:
            wanted["PixelScale"] = "5 5 0"
        assert found | {"SourceFile": ""} == wanted | {"SourceFile": ""}, (path.name, ext)


@pytest.mark.parametrize("ext", FORMATS)
def test_what_is_left_out_is_said_once(ext: str, folder: Path) -> None:
    notes = [line for line in (folder / "keep" / ext / "notes").read_text().splitlines() if "left out" in line]
    said = [line.split(": ", 1)[1].split(" left out")[0] for line in notes]
    assert sorted(said) == sorted(SAID[ext])


@pytest.mark.parametrize("ext", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_strip_leaves_nothing(source: str, ext: str, folder: Path) -> None:
    target = folder / "strip" / ext / f"ii_{source}.{ext}"
    found = present(read_facts(target))
    assert not found or (ext == "tif" and found == {"dpi": 1})  # TIFF must have one; this one has no unit
    data = target.read_bytes()
    assert not any(word in data for word in (b"adaptsr", b"Canon", b"lighthouse", b"old postcard", b"Photoshop"))
    assert "left out" not in (folder / "strip" / ext / "notes").read_text()


@pytest.mark.parametrize("ext", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_dpi_follows_the_factor_if_wanted(source: str, ext: str, folder: Path) -> None:
    assert read_facts(folder / "scaled" / ext / f"ii_{source}.{ext}")["dpi"] == 2 * DPI
