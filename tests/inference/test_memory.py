"""What is stated of the memory: it covers what is counted, and the result is never held as floats."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import save_tiny

from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.memory import picture_bytes
from adaptsr_cli.inference.picture import upscale_picture
from adaptsr_cli.io.formats.kind import Outline
from adaptsr_cli.io.images import write_picture
from adaptsr_cli.io.pictures import Picture

PHOTO = Outline(12_250, 8_163)  # 100 MP
PNG = Path("out.png")


def stated(outline: Outline, target: Path = PNG, outscale: float = 4) -> int:
    return picture_bytes(outline, target, scale=4, outscale=outscale, band_px=300 * outline.width_px)


def test_100_megapixels_of_8_bits_fit_into_12_gb() -> None:
    assert 8e9 < stated(PHOTO) < 12e9
    assert stated(PHOTO, Path("out.jpg")) < 12e9
    assert stated(PHOTO, Path("out.tif")) < stated(PHOTO)  # not copied to be encoded


@pytest.mark.parametrize("target", [PNG, Path("out.jpg"), Path("out.webp"), Path("out.TIFF"), Path("out.avif")])
def test_everything_that_is_more_needs_more(target: Path) -> None:
    least = stated(PHOTO, target)
    assert stated(replace(PHOTO, deep=True), target) > least
    assert stated(replace(PHOTO, alpha=True), target) > least
    assert stated(replace(PHOTO, frames=2), target) > 1.4 * least
    assert stated(replace(PHOTO, height_px=2 * PHOTO.height_px), target) > 1.7 * least
    assert stated(PHOTO, target, outscale=4.5) > least


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_result_is_never_held_as_floats(suffix: str, dtype: type[np.generic], tmp_path: Path) -> None:
    height_px, width_px = 1500, 100
    backbone = load_backbone(save_tiny("span_x2", tmp_path / "m.safetensors"))
    upscaler = Upscaler(backbone, device=torch.device("cpu"), tile_px=32, pad_px=4)
    noise = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (height_px, width_px, 3), dtype=dtype)
    upscale_picture(upscaler, Picture(noise[:100]))
    tracemalloc.start()  # which sees what numpy takes
    try:
        result = upscale_picture(upscaler, Picture(noise))
        work_bytes = tracemalloc.get_traced_memory()[1]
        write_picture(tmp_path / f"out{suffix}", result)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    result_bytes = noise.nbytes * 4
    floats_bytes = 12 * height_px * width_px * 4
    outline = Outline(width_px, height_px, deep=dtype == np.uint16)
    band_px = upscaler.most_band_px(height_px, width_px)
    assert result_bytes < work_bytes < result_bytes + 0.4 * floats_bytes
    assert peak_bytes < picture_bytes(outline, tmp_path / f"out{suffix}", scale=2, outscale=2, band_px=band_px)
