"""The Python API: the same results as the commands, and nothing changed in the calling program."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Command, noise
from networks import save_tiny
from PIL import Image
from stages.pair_files import save_shot

import adaptsr_cli as api
from adaptsr_cli import api as module
from adaptsr_cli.io.documents import read_toml
from adaptsr_cli.io.tensors import read_tensors

HOST_STATE = """
import logging, random
import numpy as np, PIL.Image, torch

def state():
    return (
        random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist(), torch.get_num_threads(),
        torch.get_default_dtype(), torch.is_grad_enabled(), PIL.Image.MAX_IMAGE_PIXELS, logging.root.level,
        logging.getLogger("tifffile").level,
    )

before = state()
import adaptsr_cli
adaptsr_cli.adapt
adaptsr_cli.upscale_array(np.zeros((8, 8, 3), np.uint8), device="cpu")
print([index for index, (old, new) in enumerate(zip(before, state())) if old != new])
"""


def python(source: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_the_package_is_cheap() -> None:
    assert python("import sys, adaptsr_cli; print({'torch', 'pydantic', 'numpy'} & set(sys.modules))") == "set()"


def test_importing_and_calling_leave_the_calling_program_as_it_was() -> None:
    assert python(HOST_STATE) == "[]"


def test_every_public_name_is_there() -> None:
    assert set(module.__all__) <= set(api.__all__)
    assert all(hasattr(api, name) for name in api.__all__)
    assert set(api.__all__) <= set(dir(api))
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        _ = api.tarin


def test_training_gives_the_adapter_of_the_command_and_keeps_random_states(
    pairs: Path, adaptsr: Command, tmp_path: Path
) -> None:
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1).item()
    words = ("train", "--data", pairs, "--run", "by-command", "--iterations", 2, "--batch", 2, "--patch", 48)
    assert adaptsr(*words, "--device", "cpu").code == 0
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    result = api.train(data=pairs, run=tmp_path / "by-python", iterations=2, batch=2, patch=48, device="cpu")
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
    ours, _ = read_tensors(tmp_path / "by-python" / "adapter.safetensors")
    theirs, _ = read_tensors(tmp_path / "by-command" / "adapter.safetensors")
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert result.card.iterations == 2


def test_options_may_be_an_object_with_keywords_over_it(pairs: Path, tmp_path: Path) -> None:
    options = api.ScoreOptions(data=pairs, run=tmp_path / "one", batches=2, batch=1, patch=48, device="cpu")
    assert api.score(options, run=tmp_path / "two").saliency.batches == 2
    assert (tmp_path / "two" / "saliency.json").exists()
    assert not (tmp_path / "one").exists()


def test_a_wrong_option_is_an_error_of_ours() -> None:
    with pytest.raises(api.UsageError, match="`iteratoins` is not an option"):
        api.train(data="pairs", iteratoins=3)
    with pytest.raises(api.AdaptsrError, match="`iterations`"):
        api.train(data="pairs", iterations=0)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"lr": 0.001}, "did you mean learning_rate"),  # as the command line has it
        ({"minute": 1}, "did you mean minutes"),
        ({"zzz": 1}, ""),
    ],
)
def test_the_option_that_is_meant_is_told(wrong: dict[str, float], hint: str, tmp_path: Path) -> None:
    with pytest.raises(api.UsageError) as caught:
        api.train(data="pairs", **wrong)
    assert caught.value.hint.startswith(hint)
    assert bool(hint) == bool(caught.value.hint)
    (tmp_path / "config.toml").write_text("".join(f"{name} = {value}\n" for name, value in wrong.items()))
    with pytest.raises(api.ArtifactError) as caught_in_file:
        read_toml(tmp_path / "config.toml", api.TrainOptions)
    assert caught_in_file.value.hint.startswith(hint or "known keys: ")


@pytest.mark.parametrize(
    ("function", "name"), [(api.upscale, "inputs"), (api.pair, "photos"), (api.adapt, "data"), (api.merge, "run")]
)
def test_a_value_without_its_name_is_told(function: Callable[[Any], object], name: str) -> None:
    with pytest.raises(api.UsageError, match=r"'in\.png' is no \w+Options") as caught:
        function("in.png")
    assert caught.value.hint == f"name what it is: {name}='in.png'"


def test_metrics_may_be_a_list() -> None:
    for kind in (api.EvaluateOptions, api.AdaptOptions):
        assert kind(data="pairs", metrics=["psnr", "ssim"]) == kind(data="pairs", metrics="psnr,ssim")


def test_pairs_are_made_by_a_call(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed (extra pair)")
    wide, tele = save_shot(tmp_path)
    result = api.pair(photos=(wide, tele), output=tmp_path / "mine", scale=2, block=48)
    assert isinstance(result, api.PairResult)
    assert result.pairs == len(list((tmp_path / "mine" / "hr").iterdir())) > 5
    with pytest.raises(api.UsageError, match="does not exist"):
        api.pair(photos=tmp_path / "none", output=tmp_path / "mine", scale=2)


@pytest.fixture
def network(tmp_path: Path) -> api.Backbone:
    return api.load_backbone(save_tiny("safmn", tmp_path / "tiny.safetensors"))


def test_what_the_file_does_not_tell_can_be_given(tmp_path: Path) -> None:
    path = save_tiny("edsr_basicsr", tmp_path / "edsr.pth")
    assert api.load_backbone(path, model_options=["residual_scale=0.5"]).identity.options == {"residual_scale": 0.5}
    with pytest.raises(api.UsageError, match="`model_options` res_scale is not an option of EDSR"):
        api.load_backbone(path, model_options=["res_scale=0.5"])


def test_an_array_becomes_the_pixels_of_the_command(network: api.Backbone, adaptsr: Command, tmp_path: Path) -> None:
    lr = noise(20, 31, 3)
    Image.fromarray(lr).save(tmp_path / "in.png")
    assert adaptsr("upscale", "in.png", "--model", tmp_path / "tiny.safetensors", "--device", "cpu").code == 0
    with Image.open(next(tmp_path.glob("in_x*.png"))) as written:
        assert np.array_equal(np.asarray(written), api.upscale_array(lr, network, device="cpu"))


@pytest.mark.parametrize(
    ("image", "shape"),
    [
        (noise(9, 12), (36, 48)),
        (noise(9, 12, 4), (36, 48, 4)),
        (noise(9, 12, 3, depth=16), (36, 48, 3)),
        (noise(9, 12, 3).astype(np.float32) / 255, (36, 48, 3)),
    ],
)
def test_arrays_keep_type_and_channels(image: np.ndarray, shape: tuple[int, ...], network: api.Backbone) -> None:
    sr = api.upscale_array(image, network, device="cpu")
    assert sr.shape == shape
    assert sr.dtype == image.dtype
    assert api.upscale_array(image, network, outscale=2, device="cpu").shape[:2] == (18, 24)


@pytest.mark.parametrize("image", [noise(9, 12, 5), noise(9), np.zeros((0, 4, 3), np.float32), np.zeros((4, 4, 3))])
def test_what_is_not_an_image_is_refused(image: np.ndarray, network: api.Backbone) -> None:
    with pytest.raises(api.ImageError, match="is not an image"):
        api.upscale_array(image, network)


def test_a_network_is_named_by_text_or_path_and_by_nothing_else(tmp_path: Path) -> None:
    file = save_tiny("span_x2", tmp_path / "net.safetensors")
    network = api.load_backbone(file, weights_dir=str(tmp_path / "weights"), model_options="img_range=255")
    assert network.identity.options == {"img_range": 255}
    for wrong in ("", network, network.model, 3):
        with pytest.raises(api.UsageError, match="`model` is"):
            api.load_backbone(wrong)  # type: ignore[arg-type]
    assert api.ScoreOptions.of({"model": file}).model == str(file)


def test_keywords_take_the_place_of_options_for_images_in_another_way() -> None:
    with pytest.raises(api.DataError, match="there is no folder nowhere"):
        api.train(api.TrainOptions(hr_dir="hr", lr_dir="lr"), data="nowhere")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"data": b"pairs"}, "`data` is b'pairs'; it should be a text, or a list of texts"),
        ({"data": [("pairs", 0.3)]}, "`data` is ('pairs', 0.3); it should be a valid string"),
        ({"data": "pairs", "run": None}, "`run` is None; it should be a path"),
        ({"data": "pairs", "val": 3}, "`val` is 3; it should be a path"),
        ({"data": "pairs", "seed": 1 << 64}, "`seed` 18446744073709551616 is too large"),
    ],
)
def test_what_no_option_can_be_is_told_by_its_name(values: dict[str, Any], text: str) -> None:
    with pytest.raises(api.UsageError) as refused:
        api.score(**values)
    assert text in refused.value.message
