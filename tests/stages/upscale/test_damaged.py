"""Damaged inputs of ``upscale``: refused by name, or upscaled as far as they go with a warning."""

from __future__ import annotations

from pathlib import Path

from damaged_files import DAMAGED, HEIGHT, WIDTH, encoded
from networks import save_tiny
from PIL import Image

from adaptsr_cli.progress import Silent
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.stage import UpscaleResult, run_upscale


def upscale(tmp_path: Path, **options: object) -> tuple[UpscaleResult, Silent]:
    model = save_tiny("span_x2", tmp_path / "model.safetensors")
    progress = Silent()
    settings = {"output": tmp_path / "out", "device": "cpu", "precision": "fp32", "model": str(model), **options}
    chosen = UpscaleOptions(run=tmp_path / "run", inputs=(tmp_path / "in",), **settings)  # type: ignore[arg-type]
    return run_upscale(chosen, progress=progress), progress


def put_inputs(folder: Path) -> None:
    folder.mkdir()
    (folder / "whole.jpg").write_bytes(encoded("JPEG"))
    for name in ("jpeg-cut-with-an-end-mark", "png-few-rows"):
        suffix, data = DAMAGED[name]()
        (folder / f"{name}{suffix}").write_bytes(data)


def test_damaged_files_fail_by_name_and_the_others_are_made(tmp_path: Path) -> None:
    put_inputs(tmp_path / "in")
    report, progress = upscale(tmp_path)
    assert report.summary == "1 ok, 2 failed, 0 skipped"
    assert all("damaged or truncated" in line and "set `damaged` to keep" in line for line in progress.warnings)


def test_damaged_files_are_made_if_wanted_and_each_is_told(tmp_path: Path) -> None:
    put_inputs(tmp_path / "in")
    report, progress = upscale(tmp_path, damaged="keep")
    assert report.summary == "3 ok, 0 failed, 0 skipped"
    assert sum("upscaled as far as it can be decoded" in line for line in progress.warnings) == 2
    for _, target in report.written:
        with Image.open(target) as image:
            assert image.size == (2 * WIDTH, 2 * HEIGHT)
