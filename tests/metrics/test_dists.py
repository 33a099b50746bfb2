"""DISTS with the published weights of the channels and a random trunk, and what happens without them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor

from adaptsr_cli.errors import CheckpointError, DataError
from adaptsr_cli.io.tensors import write_pth, write_tensors
from adaptsr_cli.metrics.dists import WEIGHTS_FILE, Dists
from adaptsr_cli.metrics.measures import Measures
from adaptsr_cli.metrics.protocol import PAPER


def save_trunk(folder: Path) -> torch.nn.Sequential:
    torch.manual_seed(1)
    features = torchvision.models.vgg16(weights=None).features
    write_tensors(
        folder / "vgg16_random.safetensors",
        {f"features.{key}": tensor for key, tensor in features.state_dict().items()},
        {},
    )
    assert isinstance(features, torch.nn.Sequential)
    return features.eval()


def save_channel_weights(folder: Path) -> tuple[Tensor, Tensor]:
    alpha, beta = torch.rand(1, 1475, 1, 1), torch.rand(1, 1475, 1, 1)
    write_pth(folder / WEIGHTS_FILE, {"alpha": alpha, "beta": beta})
    return alpha.flatten(), beta.flatten()


def images() -> tuple[Tensor, Tensor]:
    first = torch.rand(1, 3, 35, 42)
    return first, (first + 0.3 * torch.rand_like(first)).clamp(0, 1)


def direct_dists(features: torch.nn.Sequential, alpha: Tensor, beta: Tensor, first: Tensor, second: Tensor) -> float:
    """The paper's Eq. 5 to 7 written down channel by channel, pooling pixel by pixel."""

    def pool(x: np.ndarray) -> np.ndarray:
        window = np.outer((1, 2, 1), (1, 2, 1)) / 16
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        rows, columns = range(0, x.shape[1], 2), range(0, x.shape[2], 2)
        return np.array(
            [
                [[np.sqrt((window * c[i : i + 3, j : j + 3] ** 2).sum() + 1e-12) for j in columns] for i in rows]
                for c in padded
            ]
        )

    def stages(image: Tensor) -> list[np.ndarray]:
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        x = (image - mean) / std
        found = [image[0].numpy().astype(np.float64)]
        for layer in features:
            if isinstance(layer, torch.nn.MaxPool2d):
                found.append(x[0].numpy().astype(np.float64))
                x = torch.from_numpy(pool(found[-1])).float()[None]
            else:
                x = layer(x)
        return found

    with torch.inference_mode():
        pairs = [(x, y) for both in zip(stages(first), stages(second), strict=True) for x, y in zip(*both, strict=True)]
    assert len(pairs) == 1475
    total, constant = float(alpha.sum() + beta.sum()), 1e-6
    similarity = 0.0
    for (x, y), a, b in zip(pairs, alpha.tolist(), beta.tolist(), strict=True):
        texture = (2 * x.mean() * y.mean() + constant) / (x.mean() ** 2 + y.mean() ** 2 + constant)
        covariance = ((x - x.mean()) * (y - y.mean())).mean()
        structure = (2 * covariance + constant) / (x.var() + y.var() + constant)
        similarity += (a * texture + b * structure) / total
    return 1 - similarity


def test_it_equals_the_formula_written_down(tmp_path: Path) -> None:
    features = save_trunk(tmp_path)
    alpha, beta = save_channel_weights(tmp_path)
    first, second = images()
    # the trunk's in-place activations would overwrite what the formula keeps
    for layer in features:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False
    expected = direct_dists(features, alpha, beta, first, second)
    assert Dists(weights_dir=tmp_path).distance(first, second).item() == pytest.approx(expected, abs=2e-5)
    assert expected > 0.01


def test_the_published_weights_are_read(shared: Path, tmp_path: Path) -> None:
    save_trunk(tmp_path)
    shutil.copyfile(shared / "weights" / "metrics" / WEIGHTS_FILE, tmp_path / WEIGHTS_FILE)
    metric = Dists(weights_dir=tmp_path)
    texture, structure = (torch.cat(parts) for parts in (metric._texture, metric._structure))
    assert (texture.sum() + structure.sum()).item() == pytest.approx(1, abs=1e-5)
    first, second = images()
    assert metric.distance(first, first).item() == pytest.approx(0, abs=1e-5)
    assert metric.distance(first, second).item() > 1e-4


def test_arrays_and_gradients(tmp_path: Path) -> None:
    save_trunk(tmp_path)
    save_channel_weights(tmp_path)
    metric = Dists(weights_dir=tmp_path)
    first = np.random.default_rng(0).integers(0, 256, (32, 40, 3)).astype(np.uint8)
    second = first // 2
    assert metric(first, second) == pytest.approx(metric(first / 255, second / 255), abs=1e-6)
    tensor = torch.rand(2, 3, 32, 32, requires_grad=True)
    distances = metric.distance(tensor, torch.rand(2, 3, 32, 32))
    assert distances.shape == (2,)
    distances.sum().backward()
    assert tensor.grad is not None
    assert tensor.grad.isfinite().all()
    with pytest.raises(DataError, match="40x15 px is too small for dists"):
        metric(first[:15], second[:15])


def test_what_is_missing_is_said_and_the_rest_is_scored(tmp_path: Path) -> None:
    no_trunk = Measures(("dists", "delta_e"), PAPER, tmp_path)
    assert no_trunk.skipped["dists"].startswith("skipped: put file vgg16-397923af.pth (SHA-256 starts with 397923af)")
    image = np.zeros((32, 32, 3), np.uint8)
    assert no_trunk.score(image, image)["delta_e_2000"] == 0
    save_trunk(tmp_path)
    reason = Measures(("dists",), PAPER, tmp_path).skipped["dists"]
    assert reason.startswith(f"skipped: put file {WEIGHTS_FILE} (tested with SHA-256 f5e65c96")
    assert str(tmp_path / WEIGHTS_FILE) in reason


def test_other_files_under_these_names_are_refused(tmp_path: Path) -> None:
    save_trunk(tmp_path)
    write_pth(tmp_path / WEIGHTS_FILE, {"alpha": torch.ones(1, 1475, 1, 1)})
    with pytest.raises(CheckpointError, match="does not hold DISTS' weights"):
        Dists(weights_dir=tmp_path)
    save_channel_weights(tmp_path)
    write_tensors(tmp_path / "vgg16_random.safetensors", {"features.0.weight": torch.ones(64, 3, 3, 3)}, {})
    with pytest.raises(CheckpointError, match=r"does not fit DISTS: features.0.bias is missing"):
        Dists(weights_dir=tmp_path)
