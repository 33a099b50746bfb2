"""What only a CUDA device can show; run by `python benchmarks/gpu_check.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command
from networks import ARCHITECTURES, save_tiny

from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.images import read_rgb

pytestmark = pytest.mark.gpu

CUDA = "cuda"


def test_the_whole_job_on_cuda(adaptsr: Command, pairs: Path) -> None:
    words = ("--budget", "15k", "--metrics", "psnr", "--iterations", 40, "--batch", 4, "--patch", 64, "--lr", 0.01)
    done = adaptsr("adapt", "--data", pairs, "--device", CUDA, *words)
    assert done.code == 0, done.err
    assert "+" in done.out
    again = adaptsr("adapt", "--data", pairs, "--device", CUDA, *words)
    assert "finished already" in again.err


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_interrupted_state_goes_on_on_cuda(precision: str, adaptsr: Command, pairs: Path) -> None:
    """The optimiser's state survives the way to disk and back with the fused optimiser."""
    words = ("train", "--data", pairs, "--device", CUDA, "--precision", precision, "--batch", 2, "--patch", 64)
    first = adaptsr(*words, "--iterations", 30, "--minutes", 0.01)
    assert first.code == 0, first.err
    second = adaptsr(*words, "--iterations", 30, "--minutes", 0.01)
    assert second.code == 0, second.err


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_cuda_agrees_with_the_cpu(name: str, tmp_path: Path) -> None:
    file = save_tiny(name, tmp_path / "net.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    expected = Upscaler(load_backbone(file), device=torch.device("cpu"), tile_px=0).run(image)
    result = Upscaler(load_backbone(file), device=torch.device(CUDA), tile_px=0).run(image)
    assert np.abs(result - expected).max() * 255 <= 0.5


def test_upscale_in_bf16_stays_near(adaptsr: Command, pairs: Path) -> None:
    image = pairs / "lr" / "000.png"
    for precision in ("fp32", "bf16"):
        done = adaptsr("upscale", image, "-o", f"{precision}.png", "--device", CUDA, "--precision", precision)
        assert done.code == 0, done.err
    difference = read_rgb(Path("fp32.png")).astype(int) - read_rgb(Path("bf16.png"))
    assert np.abs(difference).mean() <= 1
