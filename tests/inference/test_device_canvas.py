"""The blending that runs on a GPU, here on the CPU: the same results as NumPy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import save_tiny

from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import ImageError
from adaptsr_cli.inference.device_canvas import HostCopies
from adaptsr_cli.inference.device_tiles import to_device
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import to_depth

CPU = torch.device("cpu")


def image(height: int, width: int, dtype: type = np.uint8) -> np.ndarray:
    most = np.iinfo(dtype).max
    return np.random.default_rng(height).integers(0, most, (height, width, 3), dtype=dtype, endpoint=True)


def upscaler_on_device(file: Path, **options: object) -> Upscaler:
    """An upscaler that works as it does on a GPU."""
    upscaler = Upscaler(load_backbone(file), device=CPU, **options)  # type: ignore[arg-type]
    upscaler._copies = HostCopies(CPU)
    return upscaler


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [(90, 70), (70, 150), (40, 130), (130, 40), (33, 31)])
@pytest.mark.parametrize("name", ["edsr_basicsr", "span_x2"])
def test_it_blends_as_numpy_does(name: str, size: tuple[int, int], batch: int, tmp_path: Path) -> None:
    file = save_tiny(name, tmp_path / "m.safetensors")
    options = {"tile_px": 24, "pad_px": 6, "batch": batch}
    expected = Upscaler(load_backbone(file), device=CPU, **options).run(image(*size))  # type: ignore[arg-type]
    found = upscaler_on_device(file, **options).run(image(*size))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("tile_px", [0, 24])
def test_it_rounds_as_numpy_does(dtype: type, tile_px: int, tmp_path: Path) -> None:
    file = save_tiny("edsr_basicsr", tmp_path / "m.safetensors")
    lr = image(70, 61, dtype)
    upscaler = upscaler_on_device(file, tile_px=tile_px, pad_px=6)
    expected = to_depth(upscaler.run(lr), np.dtype(dtype))
    bands = [band for _, band in upscaler.bands(70, 61, lambda start, stop: lr[start:stop], dtype=dtype)]
    assert {band.dtype for band in bands} == {np.dtype(dtype)}
    found = np.concatenate(bands)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() == 0


def test_bands_go_on_where_memory_ran_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save_tiny("edsr_basicsr", tmp_path / "m.safetensors")
    lr = image(150, 60)
    whole = Upscaler(load_backbone(file), device=CPU, tile_px=0).run(lr)
    upscaler = upscaler_on_device(file, tile_px=40, pad_px=20)
    work, calls = upscaler._network, 0

    def fail_once(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return work(tensor)

    monkeypatch.setattr(upscaler, "_network", fail_once)
    assert np.abs(upscaler.run(lr) - whole).max() * 255 <= 1
    assert upscaler._most_tile_px is not None


def test_a_result_that_is_not_finite_is_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save_tiny("edsr_basicsr", tmp_path / "m.safetensors")
    lr = image(60, 60)
    expected = upscaler_on_device(file, tile_px=24, pad_px=6).run(lr)
    upscaler = upscaler_on_device(file, tile_px=24, pad_px=6, precision="bf16")
    work = upscaler._network

    def overflow(tensor: torch.Tensor) -> torch.Tensor:
        return work(tensor) * (float("nan") if torch.is_autocast_enabled("cpu") else 1)

    monkeypatch.setattr(upscaler, "_network", overflow)
    np.testing.assert_allclose(upscaler.run(lr), expected, atol=1e-6)
    monkeypatch.setattr("adaptsr_cli.inference.engine.super_resolve", lambda _, tensor: tensor * float("nan"))
    with pytest.raises(ImageError, match="not finite"):
        upscaler.run(lr)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_inputs_are_the_same_numbers_as_on_the_host(dtype: type) -> None:
    lr = image(5, 7, dtype)[None]
    expected = (lr.astype(np.float32) / np.float32(np.iinfo(dtype).max)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(to_device(lr, CPU).numpy(), expected)
