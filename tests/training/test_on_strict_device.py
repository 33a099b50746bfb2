"""Whole training steps and upscaling on a device that is strict: right tensors in the right place, and no waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from emulated_device import DEVICE, DeviceTensor, EmulatedDevice, WrongDevice
from networks import save_tiny
from torch import Tensor

from adaptsr_cli.adapters.attach import attach
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.artifacts.train_config import OptimizerName
from adaptsr_cli.backbones.backbone import set_differentiable, super_resolve
from adaptsr_cli.backbones.fast import on_cuda
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.training.ema import MovingAverage
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.optimizer import make_optimizer
from adaptsr_cli.training.step import GradientStep

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="where CUDA is, it is tested itself")

NETWORKS = ("edsr_pytorch", "safmn", "span", "swinir", "hat", "drct", "dat", "rcan", "realplksr")
STEPS = 3


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatedDevice]:
    """The strict device; our own kernels, which need a real one, are left out."""
    monkeypatch.setattr(on_cuda, "has_kernels", lambda device: False)
    monkeypatch.setattr("torch.cuda._lazy_init", lambda: None)  # torch would look for a driver at the word "cuda"
    grouped = torch.optim.Optimizer._group_tensors_by_device_and_dtype  # by what they are below Python
    monkeypatch.setattr(
        torch.optim.Optimizer,
        "_group_tensors_by_device_and_dtype",
        staticmethod(lambda *args: {(DEVICE, dtype): group for (_, dtype), group in grouped(*args).items()}),
    )
    with EmulatedDevice() as emulated:
        yield emulated


class Training:
    """Steps of a tiny network; the same on all devices."""

    def __init__(
        self,
        name: str,
        folder: Path,
        device: torch.device,
        objective: str = "fidelity",
        optimizer: OptimizerName = "muon",
    ) -> None:
        self.device = device
        self.backbone = load_backbone(save_tiny(name, folder / "net.safetensors")).to(device)
        plan = [(site, min(2, site.max_rank)) for site in find_sites(self.backbone.model, self.backbone.traits).sites]
        self.attachment = attach(self.backbone.model, plan, alpha=2.0)
        self.objective = make_objective(objective, weights_dir=Path(), device=device, seed=0, iterations=1, scale=4)  # type: ignore[arg-type]
        self.gradients = GradientStep(
            self.backbone, self.attachment, self.objective, device=device, precision="fp32", accumulate=2
        )
        self.optimizer = make_optimizer(optimizer, self.attachment.parameter_groups(1), 1e-3, device)
        self.average = MovingAverage(list(self.attachment.parameters()), 0.9)
        set_differentiable(self.backbone, True)

    def step(self, number: int) -> Tensor:
        """One step, as the loop takes it."""
        generator = torch.Generator().manual_seed(number)
        scale = self.backbone.scale
        lr = torch.rand(2, 3, 16, 16, generator=generator).to(self.device, non_blocking=True)
        hr = torch.rand(2, 3, 16 * scale, 16 * scale, generator=generator).to(self.device, non_blocking=True)
        self.optimizer.set_rate(1e-3 / (1 + number))
        means, _ = self.gradients.run(lr, hr, number)
        means.put_back()
        self.optimizer.step()
        self.average.update()
        return means.losses["loss"]


@pytest.mark.parametrize(("name", "optimizer"), [*((name, "muon") for name in NETWORKS), ("safmn", "adam")])
def test_a_training_step_waits_for_nothing_and_keeps_to_its_device(
    name: str, optimizer: OptimizerName, tmp_path: Path, device: EmulatedDevice
) -> None:
    training = Training(name, tmp_path, DEVICE, optimizer=optimizer)
    parameters = list(training.attachment.parameters())
    assert all(isinstance(parameter, DeviceTensor) for parameter in parameters)
    device.waits.clear()
    losses = [training.step(number) for number in range(STEPS)]
    assert device.waits == []
    assert all(isinstance(loss, DeviceTensor) for loss in losses)
    found = [float(loss) for loss in losses]
    assert len(device.waits) == STEPS  # what is looked at for the log
    expected = Training(name, tmp_path, torch.device("cpu"), optimizer=optimizer)
    assert found == pytest.approx([float(expected.step(number)) for number in range(STEPS)], rel=1e-4)
    # What is trained, its moments and its average are in full precision.
    states = [part.state for part in training.optimizer.parts.values()]
    kept = [tensor for state in states for moments in state.values() for tensor in moments.values()] + parameters
    assert len(kept) > len(parameters)
    assert {tensor.dtype for tensor in kept} == {torch.float32}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_compute_the_same_there(name: str, tmp_path: Path, device: EmulatedDevice) -> None:
    file = save_tiny(name, tmp_path / "net.safetensors")
    image = torch.rand(1, 3, 21, 34, generator=torch.Generator().manual_seed(0))
    on_device = load_backbone(file).to(DEVICE)
    device.waits.clear()
    with torch.no_grad():
        found = super_resolve(on_device, image.to(DEVICE))
        assert device.waits == []
        assert float((found.cpu() - super_resolve(load_backbone(file), image)).abs().max()) < 1e-4


def test_a_misplaced_tensor_is_caught(device: EmulatedDevice) -> None:
    on_device = torch.ones(3, device=DEVICE)
    with pytest.raises(WrongDevice):
        on_device + torch.ones(3)
    assert float((on_device + torch.tensor(1.0)).sum()) == 6  # a number may come from the host


def test_a_hidden_wait_is_caught(tmp_path: Path, device: EmulatedDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training("safmn", tmp_path, DEVICE)
    losses = training.objective.losses

    def peek(sr: Tensor, hr: Tensor, iteration: int) -> object:
        found = losses(sr, hr, iteration)
        if found.total > 0:  # waits
            found.total.detach().cpu()  # waits, too
        return found

    monkeypatch.setattr(type(training.objective), "losses", lambda self, *args: peek(*args))
    device.waits.clear()
    training.step(0)
    assert len(device.waits) == 4  # in both parts of the batch
    assert device.waits[1] == "cpu"
