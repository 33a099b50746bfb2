"""The fused window attention computes what the published code computes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from networks import save_tiny
from torch import Tensor

from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.fast.attention import fuse_attention
from adaptsr_cli.backbones.fast.forwards import published_forwards
from adaptsr_cli.backbones.loader import load_backbone

SWIN_TYPE = ("swinir", "drct", "hat")
# One window, one row of windows (no window without a mask), several, and sizes that have to be padded.
SIZES = ((8, 8), (8, 24), (32, 40), (19, 33))


@pytest.fixture(scope="module", params=SWIN_TYPE)
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    path = tmp_path_factory.mktemp("fused") / f"{request.param}.safetensors"
    return load_backbone(save_tiny(request.param, path))


def run(backbone: Backbone, lr: Tensor) -> tuple[Tensor, Tensor]:
    """Output, and gradient with respect to the image."""
    lr = lr.clone().requires_grad_(True)
    sr = super_resolve(backbone, lr)
    (gradient,) = torch.autograd.grad(sr.square().mean(), lr)
    return sr.detach(), gradient


@pytest.mark.parametrize("size", SIZES)
def test_outputs_and_gradients_equal_those_of_the_published_code(backbone: Backbone, size: tuple[int, int]) -> None:
    lr = torch.rand(2, 3, *size)
    sr, gradient = run(backbone, lr)
    with published_forwards(backbone.model):
        expected_sr, expected_gradient = run(backbone, lr)
    torch.testing.assert_close(sr, expected_sr, atol=1e-5, rtol=0)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-5 * float(expected_gradient.abs().max()), rtol=0)
    assert not torch.equal(gradient, expected_gradient)  # otherwise both ran the same code


def test_it_follows_the_weights(backbone: Backbone) -> None:
    """Biases that are kept from before must not outlive a change of the table that they come from."""
    model = copy.deepcopy(backbone.model)
    lr = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        before = model(lr)
        for name, parameter in model.named_parameters():
            if name.endswith("relative_position_bias_table"):
                parameter.add_(torch.randn_like(parameter))
        after = model(lr)
        with published_forwards(model):
            expected = model(lr)
    assert not torch.allclose(after, before, atol=1e-3)
    torch.testing.assert_close(after, expected, atol=1e-5, rtol=0)


def test_what_inference_mode_computed_can_be_used_in_training(backbone: Backbone) -> None:
    model = copy.deepcopy(backbone.model)
    lr = torch.rand(1, 3, 24, 16)
    with torch.inference_mode():
        model(lr)
    lr.requires_grad_(True)
    model(lr).sum().backward()
    assert lr.grad is not None


def test_a_table_that_trains_is_left_to_the_published_code(backbone: Backbone) -> None:
    model = copy.deepcopy(backbone.model).requires_grad_(True)
    model(torch.rand(1, 3, 16, 16)).sum().backward()
    tables = [tensor for name, tensor in model.named_parameters() if name.endswith("bias_table")]
    assert tables
    assert all(table.grad is not None and bool(table.grad.any()) for table in tables)


def test_names_and_tensors_stay_the_same(backbone: Backbone) -> None:
    with published_forwards(backbone.model):
        expected = {name: tensor.shape for name, tensor in backbone.model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in backbone.model.state_dict().items()} == expected


def test_other_networks_are_left_alone(tmp_path: Path) -> None:
    model = load_backbone(save_tiny("edsr_basicsr", tmp_path / "edsr.pth")).model
    assert fuse_attention(model) == 0
    assert not any("forward" in vars(module) for module in model.modules())
