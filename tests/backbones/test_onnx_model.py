"""ONNX files: any size in, the same image out as torch."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import pytest
import torch
from networks import save_tiny
from spandrel.architectures.DAT import DAT
from torch import nn
from torch.nn import functional

from adaptsr_cli.backbones import onnx_tracing
from adaptsr_cli.backbones.backbone import Backbone, fit_to_network, super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.backbones.onnx_model import OnnxModel, export_onnx
from adaptsr_cli.errors import CheckpointError, UsageError

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SIZES = ((1, 1, 1), (1, 3, 5), (1, 45, 53), (2, 16, 24), (3, 33, 4))


def difference(backbone: Backbone, model: OnnxModel, size: tuple[int, int, int]) -> float:
    batch, height, width = size
    image = torch.rand(batch, 3, height, width)
    with torch.inference_mode():
        expected = super_resolve(backbone, image)
    found = model.run(image)
    assert found.shape == expected.shape == (batch, 3, height * backbone.scale, width * backbone.scale)
    return float((found - expected).abs().max())


@pytest.mark.parametrize("name", ["edsr_basicsr_x2", "safmn", "swinir"])
def test_any_size_gives_what_torch_gives(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    backbone = load_backbone(save_tiny(name, tmp_path / "net.safetensors"))
    before = {key: tensor.clone() for key, tensor in backbone.model.state_dict().items()}
    file = tmp_path / "net.onnx"
    with warnings.catch_warnings(record=True) as said:
        export_onnx(backbone, file, {"scale": "4"})
    printed = capfd.readouterr()
    assert (printed.out, printed.err, [str(w.message) for w in said]) == ("", "", [])
    model = OnnxModel(file)
    assert model.metadata == {"scale": "4"}
    scale = backbone.scale
    assert model.describe_shapes() == f"lr (batch, 3, height, width), sr (batch, 3, {scale}*height, {scale}*width)"
    assert max(difference(backbone, model, size) for size in SIZES) < 1e-5
    assert all(torch.equal(before[key], tensor) for key, tensor in backbone.model.state_dict().items())
    # What was replaced for tracing is back, nothing of this machine is in the file, and nothing else lies about.
    module = sys.modules[type(backbone.model).__module__]
    assert getattr(module, "window_reverse", None) is not onnx_tracing._join_square
    assert str(Path(torch.__file__).parent).encode() not in file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.safetensors"]


# EDSR with a mean is exported in tests/stages/export/test_onnx.py.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["drct", "hat", "dat", "rcan", "rrdb", "realplksr"])
def test_other_architectures_too(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny(name, tmp_path / "net.safetensors"))
    export_onnx(backbone, tmp_path / "net.onnx", {})
    model = OnnxModel(tmp_path / "net.onnx")
    assert max(difference(backbone, model, size) for size in SIZES) < 2e-5


@pytest.mark.slow
def test_genuine_transformer(shared: Path, tmp_path: Path) -> None:
    backbone = load_backbone(shared / "weights" / "genuine" / "DCTLSA_x4.pt")
    export_onnx(backbone, tmp_path / "net.onnx", {})
    model = OnnxModel(tmp_path / "net.onnx")
    assert max(difference(backbone, model, size) for size in SIZES) < 1e-4


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (13, 14), (16, 16), (17, 8), (40, 3)])
def test_padding_by_index_is_the_padding_of_everywhere_else(size: tuple[int, int], tmp_path: Path) -> None:
    """And where the network would go on to whole windows, by reflection, that is added."""
    backbone = load_backbone(save_tiny("swinir", tmp_path / "net.safetensors"))
    assert (backbone.multiple_px, backbone.minimum_px, backbone.tile_multiple_px) == (1, 16, 8)
    image = torch.rand(2, 3, *size)
    padded, rows, columns = onnx_tracing.Pad(backbone, 8)(image)
    expected = fit_to_network(backbone, image)
    right, bottom = (-expected.shape[3] % 8, -expected.shape[2] % 8)
    assert torch.equal(padded, functional.pad(expected, (0, right, 0, bottom), mode="reflect"))
    assert (len(rows), len(columns)) == (4 * size[0], 4 * size[1])


def test_mask_of_shifted_windows_is_swinirs(tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny("swinir", tmp_path / "net.safetensors"))
    block = next(part for part in backbone.model.modules() if getattr(part, "shift_size", 0))
    mask = onnx_tracing.ShiftMask((block.window_size,) * 2, (block.shift_size,) * 2)
    for size in ((16, 16), (24, 40), (8, 8)):
        assert torch.equal(mask(size), block.calculate_mask(size))


def test_masks_of_flat_and_tall_windows_are_dats() -> None:
    """Of no size do the stored masks remain: of the size of DAT's training patches they would be constants."""
    network = DAT(img_size=16, split_size=[4, 8], embed_dim=32, depth=[3], num_heads=[2], upscale=2).eval()
    block = next(part for part in network.modules() if getattr(part, "attn_mask_0", None) is not None)
    published = [block.calculate_mask(*size) for size in ((16, 16), (24, 40), (8, 8))]
    with onnx_tracing.free_sizes(network, 8):
        found = [block.calculate_mask(*size, dtype=torch.float32) for size in ((16, 16), (24, 40), (8, 8))]
        assert block.patches_resolution not in (16, block.attn_mask_0.shape[0])
    for pair, own in zip(published, found, strict=True):
        assert all(torch.equal(theirs, ours) for theirs, ours in zip(pair, own, strict=True))


def test_network_runs_our_attention_again_after_it_was_traced(tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny("swinir", tmp_path / "net.safetensors"))
    forwards = {name: vars(part).get("forward") for name, part in backbone.model.named_modules()}
    with onnx_tracing.free_sizes(backbone.model, 8):
        assert not any("forward" in vars(part) for part in backbone.model.modules())
    assert {name: vars(part).get("forward") for name, part in backbone.model.named_modules()} == forwards
    assert any(forwards.values())


class _Stubborn(nn.Module):
    """Its batch becomes a constant."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        batch = int(image.shape[0])
        enlarged = functional.interpolate(image, scale_factor=4)
        return enlarged.view(batch if batch > 1 else 2, 3, *enlarged.shape[-2:])


def test_network_with_a_fixed_size_is_refused(tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny("edsr_pytorch", tmp_path / "net.safetensors"))
    object.__setattr__(backbone, "model", _Stubborn())
    level = logging.getLogger("torch.onnx").level
    with pytest.raises(CheckpointError, match="EDSR cannot be written as ONNX with free sizes"):
        export_onnx(backbone, tmp_path / "net.onnx", {})
    assert logging.getLogger("torch.onnx").level == level
    assert not (tmp_path / "net.onnx").exists()


def test_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match=r"net\.onnx is no ONNX file that can be run"):
        OnnxModel(tmp_path / "net.onnx")


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_missing_package_is_named(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone(save_tiny("edsr_pytorch", tmp_path / "net.safetensors"))
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match="need the packages onnx, onnxscript and onnxruntime") as refusal:
        export_onnx(backbone, tmp_path / "net.onnx", {})
    assert refusal.value.hint == "pip install 'adaptsr[onnx]'"


def test_missing_runtime_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match="the package onnxruntime is not installed"):
        OnnxModel(tmp_path / "net.onnx")
