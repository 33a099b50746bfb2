"""The convolutions that have the image on one side: found by running the network, and kept in fp32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import save_tiny
from torch import Tensor, nn

from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.ends import find_ends, in_fp32
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.runtime import autocast

CPU = torch.device("cpu")


def open_tiny(network: str, folder: Path) -> Backbone:
    return load_backbone(save_tiny(network, folder / "net.safetensors"))


@pytest.mark.parametrize(
    ("network", "names"),
    [
        ("safmn", ["to_feat", "to_img.0"]),
        ("span", ["conv_1.eval_conv", "upsampler.0"]),
        ("swinir", ["conv_first", "conv_last"]),
        ("edsr_pytorch", ["head.0", "tail.1"]),
        ("rcan", ["sub_mean", "head.0", "tail.1", "add_mean"]),  # the mean of the colours is shifted by convolutions
    ],
)
def test_ends_are_found_where_the_image_passes(network: str, names: list[str], tmp_path: Path) -> None:
    backbone = open_tiny(network, tmp_path)
    modules = dict(backbone.model.named_modules())
    assert find_ends(backbone) == [modules[name] for name in names]
    assert not any(module._forward_hooks for module in modules.values())


def test_a_network_without_convolutions_has_no_ends(tmp_path: Path) -> None:
    backbone = open_tiny("safmn", tmp_path)
    plain = nn.Sequential(nn.Upsample(scale_factor=4), nn.PReLU())
    assert find_ends(Backbone(**{**vars(backbone), "model": plain})) == []


def test_only_the_ends_leave_autocast_and_only_for_a_while(tmp_path: Path) -> None:
    backbone = open_tiny("safmn", tmp_path)
    ends, seen = find_ends(backbone), dict[nn.Module, torch.dtype]()
    for module in backbone.model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda module, _, output: seen.update({module: output.dtype}))
    image = torch.rand(1, 3, 16, 16)
    with torch.no_grad(), autocast(CPU, "bf16"), in_fp32(ends):
        assert super_resolve(backbone, image).dtype == torch.float32
    assert {seen[conv] for conv in ends} == {torch.float32}
    assert torch.bfloat16 in seen.values()
    with torch.no_grad(), autocast(CPU, "bf16"):
        super_resolve(backbone, image)
    assert set(seen.values()) == {torch.bfloat16}


def test_gradients_come_nearer_to_those_in_fp32() -> None:
    backbone = load_backbone(default_model())
    image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0)) / 4 + 0.6
    with torch.no_grad():
        wanted = super_resolve(backbone, image.roll(1, dims=2))
    for parameter in backbone.model.parameters():
        parameter.requires_grad_(True)

    def gradient(precision: str, ends: list[nn.Conv2d]) -> Tensor:
        backbone.model.zero_grad()
        with autocast(CPU, precision), in_fp32(ends):  # type: ignore[arg-type]
            sr = super_resolve(backbone, image)
        (sr.float() - wanted).abs().mean().backward()
        return torch.cat([p.grad.flatten() for p in backbone.model.parameters() if p.grad is not None])

    exact = gradient("fp32", [])
    away = [float((gradient("bf16", ends) - exact).norm() / exact.norm()) for ends in ([], find_ends(backbone))]
    assert away[1] < 0.7 * away[0]


@pytest.mark.parametrize(
    ("network", "wanted"), [("safmn", True), ("safmn_x2", False), ("span", False), ("swinir", False)]
)
def test_a_cpu_trains_in_bf16_what_was_measured_to_bear_it(network: str, wanted: bool, tmp_path: Path) -> None:
    assert open_tiny(network, tmp_path).trains_in_bf16_on_cpu == wanted
