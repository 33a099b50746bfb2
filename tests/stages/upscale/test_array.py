"""Arrays of a Python program: what the command makes of the same pixels in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, noise
from networks import save_tiny

from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import ImageError, UsageError
from adaptsr_cli.io.images import read_rgb, write_rgb
from adaptsr_cli.stages.upscale.array import upscale_array
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.stage import run_upscale


def test_an_array_becomes_what_its_file_becomes(tmp_path: Path) -> None:
    model = save_tiny("span_x2", tmp_path / "m.safetensors")
    image = noise(9, 7, 3)
    write_rgb(tmp_path / "in.png", image)
    run_upscale(
        UpscaleOptions(inputs=tmp_path / "in.png", model=str(model), run=tmp_path / "run", output=tmp_path / "out.png")
    )
    result = upscale_array(image, model=model, run=tmp_path / "run")
    np.testing.assert_array_equal(result, read_rgb(tmp_path / "out.png"))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 1), (6, 5, 2), (6, 5, 3), (6, 5, 4)])
def test_type_and_channels_stay(tmp_path: Path, shape: tuple[int, ...], depth: int) -> None:
    model = save_tiny("span_x2", tmp_path / "m.safetensors")
    network = load_backbone(model)
    image = noise(*shape, depth=depth)
    result = upscale_array(image, network)
    assert result.shape == (12, 10, *shape[2:])
    assert result.dtype == image.dtype
    assert upscale_array(image, network, outscale=1.5).shape == (9, 8, *shape[2:])


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3)), np.zeros((4, 0, 3), np.uint8), np.zeros((4, 4, 5), np.uint8)])
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="is not an image"):
        upscale_array(image)


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="list is no array of pixels"):
        upscale_array([noise(4, 4, 3)])  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [{"adapters": "a"}, {"strength": 0.0}, {"sharpness": 1}, {"run": "r"}])
def test_an_open_network_is_not_adapted_any_more(tmp_path: Path, given: dict[str, Any]) -> None:
    network = load_backbone(save_tiny("span_x2", tmp_path / "m.safetensors"))
    with pytest.raises(UsageError, match=f"`{next(iter(given))}` beside a network that is open already"):
        upscale_array(noise(9, 7, 3), network, **given)
    assert upscale_array(noise(9, 7, 3), network, adapters=[], run="adaptsr-run").shape == (18, 14, 3)


def test_without_a_model_it_is_the_run_s_as_for_the_command(adaptsr: Command, pairs: Path) -> None:
    save_tiny("edsr_basicsr", Path("m.safetensors"))
    quick = ("--iterations", 2, "--batch", 1, "--patch", 32, "--model", "m.safetensors", "--lr", 0.01)
    assert adaptsr("train", "--data", pairs, *quick).code == 0
    assert adaptsr("merge").code == 0
    image = noise(9, 7, 3)
    write_rgb(Path("in.png"), image)
    results = {}
    for strength in (None, 0.0, 0.5):
        words = () if strength is None else ("--strength", strength)
        assert adaptsr("upscale", "in.png", "-o", "out.png", "--force", *words).code == 0
        results[strength] = upscale_array(image, strength=strength)
        np.testing.assert_array_equal(results[strength], read_rgb(Path("out.png")))
    assert not np.array_equal(results[None], results[0.0])


def test_wrong_options_are_named_by_their_fields() -> None:
    for values, text in (
        ({"strength": 2}, "`strength` is 2; it should be less than or equal to 1"),
        ({"tile": 3}, "`tile` 3 is not a valid tile size"),
        ({"tiles": 32}, "`tiles` is not an option"),
    ):
        with pytest.raises(UsageError, match=text):
            UpscaleOptions.of(values)
    assert UpscaleOptions(inputs="in.png", adapters=["a", "b"]) == UpscaleOptions(
        inputs=(Path("in.png"),), adapters=(Path("a"), Path("b"))
    )
    assert [UpscaleOptions(tile=tile).tile for tile in ("auto", None, "0", 0, "64", 64)] == [None, None, 0, 0, 64, 64]


@pytest.mark.parametrize(("values", "text"), [([0, 7], "from 0 to 7"), ([-1, 1], "from -1 to 1"), ([0, np.nan], "nan")])
def test_floats_that_are_no_picture_are_refused(values: list[float], text: str) -> None:
    """They were cut off at white."""
    image = np.resize(np.array(values, np.float32), (4, 4, 3))
    with pytest.raises(ImageError, match=text):
        upscale_array(image)


def test_options_are_read_as_those_of_upscale(tmp_path: Path) -> None:
    network = load_backbone(save_tiny("span_x2", tmp_path / "m.safetensors"))
    for depth in (8, 16):
        assert upscale_array(noise(6, 4, 3, depth=depth), network, outscale="3").shape == (18, 12, 3)
    assert upscale_array(np.zeros((6, 4, 3), np.float32), network, outscale="3").shape == (18, 12, 3)
    for wrong in ({"run": None}, {"model": network.model}, {"model": ""}, {"outscale": "much"}):
        with pytest.raises(UsageError, match=f"`{next(iter(wrong))}` is"):
            upscale_array(noise(6, 4, 3), **({"model": network} | wrong))
