"""Products of convolutions: adapted as one, written as the factors that published code multiplies."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import NETWORKS, save_tiny
from spandrel.architectures.SPAN.__arch.span import Conv3XC
from torch import nn

from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import set_differentiable, super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.backbones.products import FACTORS, ProductConv, factorise


def published_layer(seed: int = 0, gain: int = 2, *, has_relu: bool = False) -> Conv3XC:
    torch.manual_seed(seed)
    layer = Conv3XC(3, 5, gain1=gain, relu=has_relu)
    return layer.requires_grad_(False).eval()


def factors_of(layer: Conv3XC) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in layer.state_dict().items() if not name.startswith("eval_conv")}


@pytest.mark.parametrize("has_relu", [False, True])
def test_the_product_is_the_published_layer_in_both_modes(has_relu: bool) -> None:
    layer = published_layer(has_relu=has_relu)
    image = torch.rand(2, 3, 7, 6)
    in_eval_mode, in_train_mode = layer(image), layer.train()(image)
    found = ProductConv(layer)(image)
    assert torch.equal(found, in_eval_mode)
    torch.testing.assert_close(found, in_train_mode, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("gain", [1, 2])
def test_factors_give_the_product_that_is_wanted(gain: int) -> None:
    layer = published_layer(gain=gain)
    before = factors_of(layer)
    assert {name.rpartition(".")[0] for name in before} == set(FACTORS)
    wanted = nn.Conv2d(3, 5, 3, padding=1)
    layer.load_state_dict(factorise(wanted, before), strict=False)
    image = torch.rand(1, 3, 9, 8)
    torch.testing.assert_close(layer(image), wanted(image), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.train()(image), wanted(image), atol=1e-5, rtol=1e-5)
    kept = [name for name, tensor in factors_of(layer).items() if torch.equal(tensor, before[name])]
    assert sorted(set(before) - set(kept)) == ["conv.1.weight", "conv.2.bias"]


def test_factors_that_cannot_reach_the_product_are_replaced() -> None:
    layer = published_layer()
    layer.conv[0].weight[:, 1] = 0.0  # nothing of the second channel gets through
    wanted = nn.Conv2d(3, 5, 3, padding=1)
    layer.load_state_dict(factorise(wanted, factors_of(layer)), strict=False)
    image = torch.rand(1, 3, 9, 8)
    torch.testing.assert_close(layer.train()(image), wanted(image), atol=1e-6, rtol=1e-6)


def test_sites_are_the_products_and_gradients_reach_them(tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny("span", tmp_path / "span.safetensors"))
    sites = [site.name for site in find_sites(backbone.model, backbone.traits).sites]
    assert "block_1.c1_r.eval_conv" in sites
    assert not [name for name in sites if ".conv." in name or ".sk" in name]
    set_differentiable(backbone, True)
    weight = backbone.model.get_parameter("block_1.c1_r.eval_conv.weight").requires_grad_(True)
    super_resolve(backbone, torch.rand(1, 3, 8, 8)).sum().backward()
    assert weight.grad is not None
    assert float(weight.grad.abs().sum()) > 0


def test_a_file_whose_product_is_out_of_date_gives_what_the_published_network_gives(tmp_path: Path) -> None:
    network = NETWORKS["span"]().eval()
    image = torch.rand(1, 3, 12, 10)
    with torch.no_grad():
        expected = network(image)
        network.get_parameter("block_2.c3_r.eval_conv.weight").zero_()
    path = tmp_path / "stale.pth"
    torch.save(network.state_dict(), path)
    torch.testing.assert_close(super_resolve(load_backbone(path), image), expected, atol=1e-5, rtol=1e-5)
