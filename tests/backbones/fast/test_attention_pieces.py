"""Blocks of window attention a few windows at a time, as they run where no gradient is wanted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import save_tiny

from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.backbones.fast import attention
from adaptsr_cli.backbones.fast.forwards import published_forwards
from adaptsr_cli.backbones.loader import load_backbone


@pytest.mark.parametrize("name", ["swinir", "drct"])
@pytest.mark.parametrize("piece_windows", [1, 4, 7, 1000])
@pytest.mark.parametrize("size_px", [(8, 8), (24, 40), (21, 13)])
def test_pieces_give_what_the_published_block_gives(
    name: str, piece_windows: int, size_px: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_backbone(save_tiny(name, tmp_path / "tiny.safetensors"))
    monkeypatch.setattr(attention, "_PIECE_WINDOWS", piece_windows)
    lr = torch.rand(2, 3, *size_px, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours = super_resolve(backbone, lr)
        with published_forwards(backbone.model):
            published = super_resolve(backbone, lr)
    assert torch.allclose(ours, published, atol=1e-5)
    assert float(published.std()) > 1e-3


def test_a_gradient_takes_the_whole_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone(save_tiny("swinir", tmp_path / "tiny.safetensors"))
    monkeypatch.setattr(attention._FusedBlock, "_by_pieces", lambda *_: pytest.fail("pieces have no gradient"))
    weight = backbone.model.get_parameter("layers.0.residual_group.blocks.0.attn.qkv.weight").requires_grad_(True)
    super_resolve(backbone, torch.rand(1, 3, 16, 16)).sum().backward()
    assert weight.grad is not None
    assert float(weight.grad.abs().sum()) > 0


def test_pieces_in_bf16_are_as_near_as_the_whole_block_is(tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny("swinir", tmp_path / "tiny.safetensors"))
    lr = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact = super_resolve(backbone, lr)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        ours = super_resolve(backbone, lr).float()
        with published_forwards(backbone.model):
            published = super_resolve(backbone, lr).float()
    assert float((ours - exact).abs().mean()) < 1.2 * float((published - exact).abs().mean())
