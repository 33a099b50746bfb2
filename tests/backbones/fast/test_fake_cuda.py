"""Every network, its training step too, on a CUDA device that is only pretended: its tensors refuse others' company.

No number is computed, but every shape, type and device is, so that a tensor made in the wrong place, a value that is
read back (which would make the host wait) and a wrong type are found without a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from networks import ARCHITECTURES, save_tiny
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from adaptsr_cli.adapters.attach import attach
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import Backbone, set_differentiable, super_resolve
from adaptsr_cli.backbones.fast import attention, on_cuda
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.runtime import autocast
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.step import GradientStep

CUDA = torch.device("cuda", 0)

META = torch.device("meta")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """A mode in which a CUDA device is pretended; constants that are made once are really made, on the host."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    make_order, keep = attention._make_order, {}

    def make_really(batch: int, height: int, width: int, window: int, shift: int, device: torch.device) -> object:
        with unset_fake_temporarily():
            order = make_order(batch, height, width, window, shift, torch.device("cpu"))
        keep[id(order)] = order
        return attention._Order(order.there.to(device), order.back.to(device), order.windows)

    monkeypatch.setattr(attention, "_make_order", make_really)
    monkeypatch.setattr(on_cuda, "has_kernels", lambda device: False)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    with mode:
        yield mode


def move(model: nn.Module, device: torch.device) -> None:
    """Moves a network to a device without values; plain attributes stay where they are, as they do in `Module.to`."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                there = parameter.detach().to(device)
                module._parameters[name] = nn.Parameter(there, requires_grad=parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(device)


def load(name: str, folder: Path) -> Backbone:
    with unset_fake_temporarily():
        return load_backbone(save_tiny(name, folder / "m.safetensors"))


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_upscaling_stays_on_the_device(name: str, precision: str, tmp_path: Path, fake: FakeTensorMode) -> None:
    backbone = load(name, tmp_path)
    move(backbone.model, CUDA)
    lr = torch.rand(2, 3, 40, 48, device=CUDA)
    with torch.no_grad(), autocast(CUDA, precision):  # type: ignore[arg-type]
        sr = super_resolve(backbone, lr)
    assert sr.device == CUDA
    assert sr.shape == (2, 3, 40 * backbone.scale, 48 * backbone.scale)


@pytest.mark.parametrize("name", ["safmn", "swinir", "hat", "span", "edsr_basicsr", "rrdb"])
def test_a_training_step_stays_on_the_device(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On torch's device without values, since autograd asks a CUDA device whether it is there."""
    make_order = attention._make_order

    def make_really(batch: int, height: int, width: int, window: int, shift: int, device: torch.device) -> object:
        order = make_order(batch, height, width, window, shift, torch.device("cpu"))
        return attention._Order(order.there.to(device), order.back.to(device), order.windows)

    monkeypatch.setattr(attention, "_make_order", make_really)
    # That device has no autocast, not even to be switched off.
    monkeypatch.setattr(torch, "autocast", lambda device, **options: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    backbone = load_backbone(save_tiny(name, tmp_path / "m.safetensors"))
    plan = [(site, min(2, site.max_rank)) for site in find_sites(backbone.model, backbone.traits).sites]
    attachment = attach(backbone.model, plan, alpha=2.0)
    move(backbone.model, META)
    objective = make_objective("l1+fft", weights_dir=Path(), device=META, seed=0, iterations=1, scale=4)
    step = GradientStep(backbone, attachment, objective, device=META, precision="fp32")
    set_differentiable(backbone, True)
    lr = torch.rand(2, 3, 16, 16, device=META)
    hr = torch.rand(2, 3, 16 * backbone.scale, 16 * backbone.scale, device=META)
    means, outputs = step.run(lr, hr, 0)
    gradients = means.put_back()
    assert outputs.device == META
    assert len(gradients) == len(list(attachment.parameters()))
    assert {gradient.device for gradient in gradients} == {META}
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    assert {loss.dtype for loss in means.losses.values()} == {torch.float32}


class Misplaces(nn.Module):
    """Adds something that it makes on the host."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(3, 1, 1)


class Waits(nn.Module):
    """Looks at a value."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.mean().item() > 0 else x


def test_a_misplaced_tensor_is_found(fake: FakeTensorMode) -> None:
    with pytest.raises(RuntimeError, match="device"):
        Misplaces()(torch.rand(1, 3, 4, 4, device=CUDA))


def test_a_value_that_is_read_back_is_found(fake: FakeTensorMode) -> None:
    from torch._subclasses.fake_tensor import DataDependentOutputException

    with pytest.raises(DataDependentOutputException):
        Waits()(torch.rand(1, 3, 4, 4, device=CUDA))
