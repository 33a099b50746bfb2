"""Constructors' arguments: those that spandrel misreads are mended, those that no tensor tells can be chosen."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adaptsr_cli.backbones.backbone import TRAITS, Backbone
from adaptsr_cli.backbones.edsr import BasicsrEDSR
from adaptsr_cli.backbones.hyperparameters import (
    UNTOLD,
    doubtful_guess,
    format_choices,
    format_untold,
    list_choices,
    parse_choices,
)
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import CheckpointError, UsageError
from adaptsr_cli.io.tensors import write_pth

_WINDOWED = {"embed_dim": 12, "depths": (2,), "num_heads": (2,), "mlp_ratio": 2.0, "img_size": 32, "window_size": 8}
_SR = {"upscale": 2, "upsampler": "pixelshuffledirect"}
_SMALL: dict[str, dict[str, Any]] = {
    "SwinIR": _WINDOWED | _SR,
    "Swin2SR": _WINDOWED | _SR,
    "HAT": _WINDOWED | {"upscale": 2, "compress_ratio": 3, "squeeze_factor": 4},
    "DRCT": _WINDOWED | {"upscale": 2, "upsampler": "pixelshuffle", "gc": 8},
    "DAT": {"img_size": 32, "embed_dim": 32, "split_size": [8, 8], "depth": [2, 2], "num_heads": [2, 2], "upscale": 2},
    "ATD": _WINDOWED | _SR | {"num_tokens": 8, "reducted_dim": 4, "category_size": 256},
    "RGT": {"embed_dim": 48, "depth": [2], "num_heads": [2], "mlp_ratio": 2.0, "upscale": 2},
    "CRAFT": {"embed_dim": 48, "depths": [2], "num_heads": [2], "upscale": 2},
    "DITN": {"dim": 12, "ITL_blocks": 1, "SAL_blocks": 1, "upscale": 2},
    "ESRGAN": {"num_filters": 8, "num_blocks": 1, "scale": 2},
    "PLKSR": {"dim": 16, "n_blocks": 1, "kernel_size": 5, "upscaling_factor": 2},
    "RealPLKSR": {"dim": 16, "n_blocks": 1, "kernel_size": 5, "upscaling_factor": 2},
    "RCAN": {"n_resgroups": 1, "n_resblocks": 1, "n_feats": 8, "reduction": 4, "scale": 2},
    "SAFMN": {"dim": 60, "n_blocks": 1, "upscaling_factor": 2},
    "SPAN": {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2},
    "SeemoRe": {"num_experts": 3, "num_layers": 1, "embedding_dim": 16, "scale": 2},
}  # fmt: skip


def build(name: str, **changes: Any) -> nn.Module:
    """A tiny network by its published constructor, its values random and its range the published one's."""
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.filterwarnings("ignore", message="torch.meshgrid")  # in spandrel's code
        torch.manual_seed(1)
        if name == "EDSR":
            model: nn.Module = BasicsrEDSR(**({"scale": 2, "width": 8, "blocks": 1, "kernel_size": 3} | changes))
        else:
            module = import_module(f"spandrel.architectures.{'PLKSR' if name == 'RealPLKSR' else name}")
            model = getattr(module, name)(**(_SMALL[name] | changes))
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if not key.startswith(("sub_mean", "add_mean")):
                    parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def run(model: nn.Module) -> Tensor:
    with torch.no_grad():
        sr: Tensor = model(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(3)))
    return sr


def reload(model: nn.Module, folder: Path, **options: Any) -> Backbone:
    write_pth(folder / "m.pth", model.state_dict())
    return load_backbone(folder / "m.pth", options=options)


def is_same(model: nn.Module, backbone: Backbone) -> bool:
    first, second = run(model), run(backbone.model)
    return first.shape == second.shape and torch.allclose(first, second, atol=1e-4 * float(first.abs().max()))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("SwinIR", {"window_size": 7, "img_size": 42, "img_range": 1.0}),
        ("Swin2SR", {"window_size": 7, "img_size": 42, "img_range": 1.0}),
        ("SwinIR", {"img_size": 8}),
        ("SwinIR", {"qkv_bias": False}),
        ("SwinIR", {"patch_norm": False}),
        ("DRCT", {"mlp_ratio": 1.3}),
        ("DAT", {}),
        ("RGT", {"split_size": [32, 8]}),
        ("CRAFT", {"split_size_0": 16, "split_size_1": 4}),
        ("RCAN", {"rgb_range": 1}),
        ("SAFMN", {"ffn_scale": 2.06}),  # 123 channels, of which 60 x (123 / 60) makes 122
    ],
)
def test_what_the_tensors_tell_is_read(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    model = build(name, **changes)
    assert is_same(model, reload(model, tmp_path))


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("SwinIR", {"img_range": 255.0}),
        ("SwinIR", {"qk_scale": 2.0}),
        ("Swin2SR", {"img_range": 255.0}),
        ("HAT", {"conv_scale": 0.5}),
        ("DRCT", {"img_range": 255.0}),
        ("DAT", {"img_range": 255.0}),
        ("ATD", {"category_size": 16}),
        ("RGT", {"num_heads": (3,)}),
        ("CRAFT", {"img_range": 255.0}),
        ("DITN", {"patch_size": 16}),
        ("ESRGAN", {"scale": 3}),
        ("ESRGAN", {"act": "relu"}),
        ("PLKSR", {"with_idt": True}),
        ("RealPLKSR", {"norm_groups": 2}),
        ("SPAN", {"rgb_mean": (0.0, 0.0, 0.0)}),
        ("SeemoRe", {"use_shuffle": False}),
        ("EDSR", {"residual_scale": 0.1}),
    ],
)
def test_what_no_tensor_tells_can_be_chosen(name: str, choice: dict[str, Any], tmp_path: Path) -> None:
    model = build(name, **choice)
    assert not is_same(model, reload(model, tmp_path))
    backbone = reload(model, tmp_path, **choice)
    assert is_same(model, backbone)
    assert backbone.identity.options == choice
    assert backbone.scale == run(model).shape[2] // 64


def test_the_table_names_architectures_and_their_arguments(tmp_path: Path) -> None:
    assert set(UNTOLD) <= set(TRAITS)
    model = build("HAT")
    backbone = reload(model, tmp_path)
    assert format_untold("HAT", backbone.arguments, {}) == "img_range=1, conv_scale=0.01, qk_scale=none"
    assert format_untold("HAT", backbone.arguments, {"img_range": 1.0}) == "conv_scale=0.01, qk_scale=none"


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        ("SwinIR", {"window_size": 7, "img_size": 42}, "img_range=1, and windows of 7 px"),
        ("SwinIR", {}, None),
        ("ATD", {}, "category_size=256"),
        ("SeemoRe", {}, "use_shuffle=true, recursive=2, topk=1"),
    ],
)
def test_networks_unlike_all_published_ones_are_told(
    name: str, changes: dict[str, Any], text: str | None, tmp_path: Path
) -> None:
    backbone = reload(build(name, **changes), tmp_path)
    doubt = doubtful_guess(name, backbone.arguments, backbone.checkpoint.names, {})
    assert (text in doubt) if doubt and text else doubt is text
    assert doubtful_guess(name, backbone.arguments, backbone.checkpoint.names, dict.fromkeys(UNTOLD[name], 1)) is None


def test_choices_are_read_and_written_alike() -> None:
    texts = ["img_range=1", "norm=false", "split_size=8,32", "act=relu", "qk_scale=none", "network=state_dict.a,b"]
    choices = parse_choices(texts)
    assert choices == {
        "img_range": 1, "norm": False, "split_size": (8, 32), "act": "relu", "qk_scale": None,
        "network": "state_dict.a,b",
    }  # fmt: skip
    assert list_choices(choices) == texts
    assert format_choices({"a": 1.0, "b": (2, 0.5)}) == "a=1, b=2,0.5"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["img_range"], "not NAME=VALUE"),
        (["=1"], "not NAME=VALUE"),
        (["a=1", "a=2"], "given twice"),
    ],
)
def test_choices_that_cannot_be_read_are_told(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_choices(texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_range": 1}, "image_range is not an option of SwinIR"),
        ({"img_range": "large"}, "img_range is large; SwinIR takes a number"),
        ({"ape": 3}, "ape is 3; SwinIR takes true or false"),
        ({"window_size": 8.5}, "window_size is 8.5; SwinIR takes a whole number"),
        ({"depths": "many"}, "depths is many; SwinIR takes numbers with commas between"),
    ],
)
def test_choices_that_the_network_does_not_have_are_told(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        reload(build("SwinIR"), tmp_path, **options)
    assert "img_range" in caught.value.hint or "image_range" not in options


def test_a_choice_against_the_tensors_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"SwinIR with embed_dim=24, but its tensors do not fit"):
        reload(build("SwinIR"), tmp_path, embed_dim=24)
