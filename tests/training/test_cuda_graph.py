"""The recorded training step: the same losses, nothing waits for the device, and caches may forget."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import save_tiny
from torch import Tensor

from adaptsr_cli.adapters.attach import attach
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import set_differentiable
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.training.cuda_graph import WARM_UP, InputsKept, RecordedStep
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.optimizer import make_optimizer
from adaptsr_cli.training.step import GradientStep

CUDA = torch.device("cuda")
CPU = torch.device("cpu")


class Training:
    """A short training of a tiny network on one device."""

    def __init__(self, name: str, folder: Path, device: torch.device, *, precision: str, graph: bool, **more: object):
        self.device = device
        self.backbone = load_backbone(save_tiny(name, folder / f"{name}.safetensors")).to(device)
        plan = [(site, min(2, site.max_rank)) for site in find_sites(self.backbone.model, self.backbone.traits).sites]
        attachment = attach(self.backbone.model, plan, alpha=2.0)
        objective = make_objective("fidelity", weights_dir=Path(), device=device, seed=0, iterations=1, scale=4)
        gradients = GradientStep(
            self.backbone,
            attachment,
            objective,
            device=device,
            precision=precision,  # type: ignore[arg-type]
            **more,  # type: ignore[arg-type]
        )
        self.optimizer = make_optimizer("muon", attachment.parameter_groups(1), 1e-2, device)
        set_differentiable(self.backbone, True)

        def step(lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
            means, _ = gradients.run(lr, hr, 0)
            means.put_back()
            self.optimizer.step()
            return means.losses

        self.notes: list[str] = []
        self.recorded = RecordedStep(step, device, self.notes.append, obstacle=None if graph else "not wanted")

    def run(self, steps: int, between: Callable[[], object] = lambda: None) -> list[float]:
        generator = torch.Generator().manual_seed(0)
        losses = []
        for step in range(steps):
            self.optimizer.set_rate(1e-2 / (1 + step))
            lr = torch.rand(2, 3, 16, 16, generator=generator)
            hr = torch.rand(2, 3, 16 * self.backbone.scale, 16 * self.backbone.scale, generator=generator)
            if self.device.type == "cuda":
                lr, hr = lr.pin_memory(), hr.pin_memory()
            losses.append(self.recorded.run(lr, hr)["loss"])
            between()
        return [loss.item() for loss in losses]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["safmn", "swinir", "hat", "span"])
def test_recorded_steps_lose_as_plain_ones_do(name: str, precision: str, tmp_path: Path) -> None:
    graphed = Training(name, tmp_path, CUDA, precision=precision, graph=True)
    plain = Training(name, tmp_path, CUDA, precision=precision, graph=False)
    found, expected = graphed.run(12), plain.run(12)
    assert graphed.notes == []
    assert graphed.recorded.is_recorded
    assert not plain.recorded.is_recorded
    np.testing.assert_allclose(found, expected, rtol=1e-4 if precision == "fp32" else 5e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("more", [{"accumulate": 2}, {"checkpointed": ("layers.0",)}])
def test_parts_and_checkpoints_can_be_recorded(more: dict[str, object], tmp_path: Path) -> None:
    graphed = Training("swinir", tmp_path, CUDA, precision="bf16", graph=True, **more)
    plain = Training("swinir", tmp_path, CUDA, precision="bf16", graph=False, **more)
    np.testing.assert_allclose(graphed.run(10), plain.run(10), rtol=5e-3)
    assert graphed.recorded.is_recorded, graphed.notes


@pytest.mark.gpu
@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("name", ["safmn", "swinir"])
def test_no_step_waits_for_the_device(name: str, graph: bool, tmp_path: Path) -> None:
    training = Training(name, tmp_path, CUDA, precision="bf16", graph=graph)
    training.run(WARM_UP + 2)
    batch = [torch.rand(2, 3, side, side).pin_memory() for side in (16, 16 * training.backbone.scale)]
    try:
        with warnings.catch_warnings(action="ignore"):  # it is a prototype
            torch.cuda.set_sync_debug_mode("error")
        for _ in range(5):
            training.optimizer.set_rate(1e-3)
            training.recorded.run(batch[0], batch[1])
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_a_graph_outlives_what_caches_forget(tmp_path: Path) -> None:
    """Validation fills the caches of masks and orders with those of other sizes and types."""
    expected = Training("swinir", tmp_path, CUDA, precision="bf16", graph=True).run(12)
    training = Training("swinir", tmp_path, CUDA, precision="bf16", graph=True)
    upscaler = Upscaler(training.backbone, device=CUDA, tile_px=0)

    def validate() -> None:
        set_differentiable(training.backbone, False)
        for side in range(8, 40, 2):
            upscaler.run(np.zeros((side, 48, 3), np.uint8))
        set_differentiable(training.backbone, True)
        gc.collect()
        torch.cuda.empty_cache()

    np.testing.assert_allclose(training.run(12, validate), expected, rtol=5e-3)


@pytest.mark.gpu
def test_what_cannot_be_recorded_goes_on_step_by_step() -> None:
    weight = torch.ones((), device=CUDA)

    def step(lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        if lr.mean().item() > 0:  # waits for the device
            weight.add_(1)
        return {"loss": weight.clone()}

    notes: list[str] = []
    recorded = RecordedStep(step, CUDA, notes.append)
    ones = torch.ones(1, 3, 4, 4)
    assert [recorded.run(ones, ones)["loss"].item() for _ in range(6)] == [2, 3, 4, 5, 6, 7]
    assert not recorded.is_recorded
    assert len(notes) == 1
    assert "no CUDA graph" in notes[0]
    # The process is as before: random numbers, memory, and recording something else.
    assert torch.rand(8, device=CUDA).isfinite().all()
    torch.cuda.empty_cache()
    other = RecordedStep(lambda lr, hr: {"loss": (lr * weight).sum()}, CUDA, notes.append)
    assert [other.run(ones, ones)["loss"].item() for _ in range(6)] == [48 * 7] * 6
    assert other.is_recorded


def test_on_the_cpu_every_step_is_a_plain_call(tmp_path: Path) -> None:
    calls: list[int] = []

    def step(lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        calls.append(len(lr))
        return {"loss": lr.mean()}

    notes: list[str] = []
    recorded = RecordedStep(step, CPU, notes.append, obstacle="anything")
    for _ in range(WARM_UP + 2):
        recorded.run(torch.ones(2, 3, 4, 4), torch.ones(2, 3, 8, 8))
    assert calls == [2] * (WARM_UP + 2)
    assert not recorded.is_recorded
    assert notes == []


def test_inputs_are_kept_and_what_is_made_of_them_is_not() -> None:
    first, second = torch.ones(3), torch.ones(3)
    with InputsKept() as inputs:
        made = first + 1
        made = made * second
        view = first[1:]
        made += view.sum()
    assert set(inputs.kept) == {first.untyped_storage().data_ptr(), second.untyped_storage().data_ptr()}


def test_the_rate_is_set_for_every_group() -> None:
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": [parameter], "ratio": ratio} for parameter, ratio in zip(parameters, (1, 4), strict=True)]
    optimizer = make_optimizer("adam", groups, 1e-3, CPU)
    optimizer.set_rate(5e-4)
    assert [group["lr"] for group in optimizer.parts["adam"].param_groups] == [5e-4, 2e-3]
