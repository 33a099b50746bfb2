"""EDSR against its formula, in both key styles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from networks import tiny_state
from torch import Tensor
from torch.nn import Conv2d
from torch.nn.functional import conv2d, pixel_shuffle, relu

from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.edsr import EDSR, BasicsrEDSR, NamedResidualBlock, ResidualBlock
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.io.tensors import write_pth


def load(state: Mapping[str, Tensor], folder: Path) -> Backbone:
    write_pth(folder / "edsr.pth", dict(state))
    return load_backbone(folder / "edsr.pth")


def to_basicsr(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names of BasicSR."""
    blocks = max(int(key.split(".")[1]) for key in state if key.startswith("body."))
    names = {"head.0": "conv_first", f"body.{blocks}": "conv_after_body", "tail.1": "conv_last"}
    renamed = {}
    for key, tensor in state.items():
        module, kind = key.rsplit(".", 1)
        if module in {"sub_mean", "add_mean"}:
            continue
        if module.startswith("tail.0."):
            module = "upsample." + module.removeprefix("tail.0.")
        elif ".body." in module:
            module = module.replace(".body.0", ".conv1").replace(".body.2", ".conv2")
        renamed[f"{names.get(module, module)}.{kind}"] = tensor
    return renamed


def reference(state: Mapping[str, Tensor], lr: Tensor, scale: int) -> Tensor:
    """What EDSR-PyTorch computes: 0-255 in, mean shifts as convolutions, 0-255 out."""

    def conv(name: str, features: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return conv2d(features, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    shallow = conv("head.0", conv("sub_mean", lr * 255))
    deep = shallow
    for block in range(2):
        deep = deep + conv(f"body.{block}.body.2", relu(conv(f"body.{block}.body.0", deep)))
    deep = shallow + conv("body.2", deep)
    for index, factor in enumerate([3] if scale == 3 else [2] * (scale // 2)):
        deep = pixel_shuffle(conv(f"tail.0.{2 * index}", deep), factor)
    return conv("add_mean", conv("tail.1", deep)) / 255


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_both_styles_follow_the_formula(scale: int, tmp_path: Path) -> None:
    state = tiny_state("edsr_pytorch" if scale == 4 else f"edsr_pytorch_x{scale}")
    lr = torch.rand(2, 3, 9, 11)
    expected = reference(state, lr, scale)
    for variant, kind in ((state, EDSR), (to_basicsr(state), BasicsrEDSR)):
        backbone = load(variant, tmp_path)
        assert isinstance(backbone.model, kind)
        assert (backbone.identity.architecture, backbone.scale) == ("EDSR", scale)
        torch.testing.assert_close(super_resolve(backbone, lr), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["edsr_pytorch", "edsr_basicsr"])
def test_pixels_are_taken_to_0_255_without_the_mean(name: str, tmp_path: Path) -> None:
    """The first convolution must see 255 * (lr - mean): with pixels of 0-1 the network works, but badly (R10)."""
    backbone = load(tiny_state(name), tmp_path)
    seen: list[Tensor] = []
    first = backbone.model.get_submodule("head.0" if name == "edsr_pytorch" else "conv_first")
    first.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    super_resolve(backbone, torch.ones(1, 3, 8, 8))
    expected = 255 * (1 - torch.tensor([0.4488, 0.4371, 0.4040]))
    torch.testing.assert_close(seen[0][0, :, 4, 4], expected)


@pytest.mark.parametrize("name", ["edsr_pytorch", "edsr_basicsr"])
def test_a_network_that_adds_nothing_gives_the_mean_colour(name: str, tmp_path: Path) -> None:
    state = tiny_state(name)
    last = "tail.1" if name == "edsr_pytorch" else "conv_last"
    state[f"{last}.weight"].zero_()
    state[f"{last}.bias"].zero_()
    sr = super_resolve(load(state, tmp_path), torch.rand(1, 3, 8, 8))
    torch.testing.assert_close(sr[0, :, 5, 5], torch.tensor([0.4488, 0.4371, 0.4040]))


def test_a_network_trained_on_0_1_is_recognised_by_its_mean_shift(tmp_path: Path) -> None:
    state = tiny_state("edsr_pytorch")
    lr = torch.rand(1, 3, 8, 8)
    expected = reference({**state, **_shifts(1.0)}, lr / 255, 4) * 255
    sr = super_resolve(load({**state, **_shifts(1.0)}, tmp_path), lr)
    torch.testing.assert_close(sr, expected, atol=1e-5, rtol=1e-5)


def _shifts(pixel_range: float) -> dict[str, Tensor]:
    shift = pixel_range * torch.tensor([0.4488, 0.4371, 0.4040])
    return {"sub_mean.bias": -shift, "add_mean.bias": shift}


@pytest.mark.parametrize(("width", "residual_scale"), [(64, 1.0), (256, 0.1)])
def test_only_the_wide_network_damps_its_residuals(width: int, residual_scale: float, tmp_path: Path) -> None:
    for model in (EDSR(2, width, 1, 3, 1.0, 255.0), BasicsrEDSR(2, width, 1, 3, 1.0)):
        state = model.state_dict()
        if isinstance(model, EDSR):
            state.update(_shifts(255.0))
        loaded = load(state, tmp_path).model
        (block,) = (module for module in loaded.modules() if isinstance(module, ResidualBlock | NamedResidualBlock))
        first, second = (module for module in block.modules() if isinstance(module, Conv2d))
        features = torch.rand(1, width, 5, 5)
        expected = features + residual_scale * second(relu(first(features)))
        torch.testing.assert_close(block(features), expected)


def test_the_official_sizes_have_the_official_parameter_counts() -> None:
    counts = [
        sum(parameter.numel() for parameter in model.parameters())
        for model in (BasicsrEDSR(4, 64, 16, 3, 1.0), EDSR(4, 256, 32, 3, 0.1, 255.0))
    ]
    assert counts == [1_517_571, 43_089_923]


def test_mean_shifts_are_no_parameters(tmp_path: Path) -> None:
    names = [name for name, _ in load(tiny_state("edsr_pytorch"), tmp_path).model.named_parameters()]
    assert names
    assert not [name for name in names if "mean" in name]
