"""The fused layer norm over channels computes what the published code computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import save_tiny
from torch import Tensor, nn

from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.fast.forwards import published_forwards
from adaptsr_cli.backbones.fast.normalisation import fuse_channel_norms
from adaptsr_cli.backbones.loader import load_backbone


@pytest.fixture
def backbone(tmp_path: Path) -> Backbone:
    return load_backbone(save_tiny("safmn", tmp_path / "tiny.safetensors"))


def run(backbone: Backbone, lr: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Output, and gradients with respect to the image and every weight."""
    leaves = [lr.clone().requires_grad_(True), *backbone.model.requires_grad_(True).parameters()]
    sr = super_resolve(backbone, leaves[0])
    return sr.detach(), list(torch.autograd.grad(sr.square().mean(), leaves))


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (2, 3, 24, 19)])
def test_outputs_and_gradients_equal_those_of_the_published_code(backbone: Backbone, shape: tuple[int, ...]) -> None:
    lr = torch.rand(shape)
    sr, gradients = run(backbone, lr)
    with published_forwards(backbone.model):
        expected_sr, expected = run(backbone, lr)
    torch.testing.assert_close(sr, expected_sr, atol=1e-5, rtol=0)
    largest = max(float(gradient.abs().max()) for gradient in expected)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * largest, rtol=1e-4)
    assert not torch.equal(sr, expected_sr)  # otherwise both ran the same code


def test_images_in_another_layout_are_left_to_the_published_code(backbone: Backbone) -> None:
    norm = next(module for module in backbone.model.modules() if type(module).__name__ == "LayerNorm")
    x = torch.randn(2, norm.weight.numel(), 5, 7)
    expected = type(norm).forward(norm, x)
    assert torch.equal(norm(x), expected)
    last = norm(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, atol=1e-5, rtol=1e-5)
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_other_layers_are_left_alone(tmp_path: Path) -> None:
    assert fuse_channel_norms(nn.Sequential(nn.LayerNorm(4), nn.Conv2d(3, 3, 1))) == 0
    model = load_backbone(save_tiny("swinir", tmp_path / "tiny.safetensors")).model
    assert fuse_channel_norms(model) == 0
