"""LPIPS: its figure with real weights, its range, and what happens without weights."""

from __future__ import annotations

import re
import socket
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from adaptsr_cli.errors import CheckpointError, DataError
from adaptsr_cli.io.tensors import write_pth, write_tensors
from adaptsr_cli.metrics.measures import Measures
from adaptsr_cli.metrics.perceptual import Lpips, MissingWeights
from adaptsr_cli.metrics.protocol import PAPER

OFFICIAL = {
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
}
NETWORKS = {
    "squeeze": torchvision.models.squeezenet1_1,
    "alex": torchvision.models.alexnet,
    "vgg": torchvision.models.vgg16,
}


def save_random_trunk(net: str, folder: Path, name: str | None = None) -> Path:
    """The convolutions of a network with random weights; LPIPS needs no more of it."""
    torch.manual_seed(1)
    features = NETWORKS[net](weights=None).features.state_dict()
    path = folder / (name or f"{OFFICIAL[net].rsplit('-', 1)[0]}_random.safetensors")
    write_tensors(path, {f"features.{key}": tensor for key, tensor in features.items()}, {})
    return path


def pictures(height: int = 48, width: int = 56) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    return first, np.clip(first.astype(int) + rng.integers(-40, 41, first.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("a metric opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def squeeze(tmp_path: Path) -> Lpips:
    save_random_trunk("squeeze", tmp_path)
    return Lpips("squeeze", weights_dir=tmp_path)


def test_real_weights_give_the_published_figure(shared: Path) -> None:
    # torchmetrics' doctest of LearnedPerceptualImagePatchSimilarity(net_type="squeeze"): 0.1008
    metric = Lpips("squeeze", weights_dir=shared / "weights" / "metrics")
    torch.manual_seed(123)
    first, second = torch.rand(10, 3, 100, 100), torch.rand(10, 3, 100, 100)
    assert metric.distance(first, second).mean().item() == pytest.approx(0.1008, abs=5e-5)
    # the same through arrays in [0, 1], one image at a time
    arrays = [batch[0].permute(1, 2, 0).numpy() for batch in (first, second)]
    assert metric(*arrays) == pytest.approx(metric.distance(first[:1], second[:1]).item(), abs=1e-6)


def test_uint8_and_floats_in_0_to_1_are_the_same_image(squeeze: Lpips) -> None:
    first, second = pictures()
    as_bytes = squeeze(first, second)
    as_floats = squeeze((first / 255).astype(np.float32), (second / 255).astype(np.float32))
    assert as_bytes == pytest.approx(as_floats, rel=1e-5)
    assert as_bytes > 0
    assert squeeze(first, first) == 0
    assert squeeze.name == "lpips_squeeze"


def test_the_networks_get_minus_1_to_1(squeeze: Lpips) -> None:
    seen = []
    squeeze._model.scaling_layer.register_forward_pre_hook(lambda _module, inputs: seen.extend(inputs))
    squeeze(np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8))
    assert (seen[0].unique().tolist(), seen[1].unique().tolist()) == ([-1.0], [1.0])


def test_it_is_what_the_package_computes(squeeze: Lpips) -> None:
    first, second = torch.rand(3, 3, 40, 33), torch.rand(3, 3, 40, 33)
    with torch.no_grad():
        expected = squeeze._model(first * 2 - 1, second * 2 - 1).flatten()
    assert torch.equal(squeeze.distance(first, second), expected)


def test_the_trunk_sees_each_reference_once(squeeze: Lpips) -> None:
    """And a changed one anew, even in the same place of memory."""
    first, second = pictures()
    expected = [squeeze(first, second), squeeze(second[::-1], second), squeeze(first, first)]
    runs = []
    squeeze._model.net.register_forward_hook(lambda *_: runs.append(1))
    assert [squeeze(first, second), squeeze(second[::-1], second)] == expected[:2]
    assert len(runs) == 3
    second[:] = first
    assert squeeze(first, second) == expected[2] == 0
    assert len(runs) == 5


def test_the_distance_lets_gradients_through_and_has_none_of_its_own(squeeze: Lpips) -> None:
    first = torch.rand(2, 3, 32, 32, requires_grad=True)
    distances = squeeze.distance(first, torch.rand(2, 3, 32, 32))
    assert distances.shape == (2,)
    distances.sum().backward()
    assert first.grad is not None
    assert first.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in squeeze._model.parameters())


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize("net", ["squeeze", "alex", "vgg"])
def test_a_missing_trunk_is_skipped_with_file_checksum_and_place(net: str, tmp_path: Path) -> None:
    metrics = Measures(("psnr", f"lpips_{net}"), PAPER, tmp_path)
    reason = metrics.skipped[f"lpips_{net}"]
    assert reason.startswith("skipped: put file ")
    assert OFFICIAL[net] in reason
    assert re.search(rf"SHA-256 starts with {OFFICIAL[net][-12:-4]}\b", reason)
    assert str(tmp_path) in reason
    assert metrics.score(*pictures()) == {}
    with pytest.raises(MissingWeights) as caught:
        Lpips(net, weights_dir=tmp_path / "nowhere")
    assert "https://download.pytorch.org/models/" in caught.value.hint


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize("net", ["squeeze", "alex", "vgg"])
def test_a_trunk_of_any_origin_is_used_quietly(net: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_random_trunk(net, tmp_path)
    state = torch.random.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = Measures((f"lpips_{net}", "ssim"), PAPER, tmp_path)
    assert torch.equal(state, torch.random.get_rng_state())
    assert metrics.skipped == {}
    scores = metrics.score(*pictures())
    assert set(scores) == {f"lpips_{net}"}
    assert 0 < scores[f"lpips_{net}"] < 10
    assert capsys.readouterr() == ("", "")


def test_every_tensor_of_the_trunk_and_of_the_linear_layers_is_taken(tmp_path: Path) -> None:
    path = save_random_trunk("squeeze", tmp_path)
    before = Lpips("squeeze", weights_dir=tmp_path)(*pictures())
    torch.manual_seed(7)  # what lpips itself initialises must not show
    assert Lpips("squeeze", weights_dir=tmp_path)(*pictures()) == before
    features = NETWORKS["squeeze"](weights=None).features.state_dict()
    write_tensors(path, {f"features.{key}": tensor for key, tensor in features.items()}, {})
    assert Lpips("squeeze", weights_dir=tmp_path)(*pictures()) != before


def test_half_precision_files_are_computed_in_fp32(tmp_path: Path) -> None:
    features = NETWORKS["squeeze"](weights=None).features.half().state_dict()
    tensors = {f"features.{key}": tensor for key, tensor in features.items()}
    write_tensors(tmp_path / "squeezenet1_1_fp16.safetensors", tensors, {})
    metric = Lpips("squeeze", weights_dir=tmp_path)
    assert {tensor.dtype for tensor in metric._model.state_dict().values()} == {torch.float32}


def test_a_file_under_the_official_name_must_have_the_official_checksum(tmp_path: Path) -> None:
    write_pth(tmp_path / OFFICIAL["squeeze"], NETWORKS["squeeze"](weights=None).state_dict())
    with pytest.raises(CheckpointError, match="is damaged: its SHA-256 starts with"):
        Lpips("squeeze", weights_dir=tmp_path)


def test_another_network_under_the_name_is_refused(tmp_path: Path) -> None:
    save_random_trunk("squeeze", tmp_path, name="alexnet-owt_wrong.safetensors")
    with pytest.raises(CheckpointError, match=r"alexnet-owt_wrong.safetensors does not fit LPIPS \(alex\)"):
        Lpips("alex", weights_dir=tmp_path)


@pytest.mark.parametrize(("net", "least"), [("squeeze", 17), ("alex", 31), ("vgg", 16)])
def test_images_too_small_for_the_trunk_are_refused(net: str, least: int, tmp_path: Path) -> None:
    save_random_trunk(net, tmp_path)
    metric = Lpips(net, weights_dir=tmp_path)
    first, second = pictures(least, 40)
    assert np.isfinite(metric(first, second))
    with pytest.raises(DataError, match=f"40x{least - 1} px is too small for lpips_{net}"):
        metric(first[:-1], second[:-1])
