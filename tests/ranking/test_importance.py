"""Importance of single weights, against the gradient by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import save_tiny
from torch.nn.functional import l1_loss

from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.errors import TrainingError
from adaptsr_cli.ranking.importance import measure_importance

CPU = torch.device("cpu")


@pytest.mark.parametrize("times_weight", [False, True])
def test_it_is_the_gradient_of_all_pairs(tmp_path: Path, times_weight: bool) -> None:
    backbone = load_backbone(save_tiny("swinir", tmp_path / "net.safetensors"))
    sites = find_sites(backbone.model, backbone.traits).sites
    lr, hr = torch.rand(3, 3, 16, 16), torch.rand(3, 3, 64, 64)
    parts = [Batch(lr[:2], hr[:2]), Batch(lr[2:], hr[2:])]  # larger batches weigh more
    found = measure_importance(backbone, sites, parts, times_weight=times_weight, device=CPU, precision="fp32")
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert all(parameter.grad is None for parameter in backbone.model.parameters())
    (fused,) = {site.module for site in sites if site.name.endswith("blocks.0.attn.qkv#k")}
    weight = backbone.model.get_parameter(f"{fused}.weight").requires_grad_(True)
    (gradient,) = torch.autograd.grad(l1_loss(super_resolve(backbone, lr), hr) * 3, weight)
    expected = (weight * gradient if times_weight else gradient).abs().detach()
    torch.testing.assert_close(torch.cat([found[f"{fused}#{letter}"] for letter in "qkv"]), expected)
    assert {name: tensor.shape for name, tensor in found.items()} == {site.name: site.shape for site in sites}


def test_a_loss_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny("safmn", tmp_path / "net.safetensors"))
    sites = find_sites(backbone.model, backbone.traits).sites
    broken = Batch(torch.full((1, 3, 8, 8), torch.nan), torch.rand(1, 3, 32, 32))
    with pytest.raises(TrainingError, match="not finite"):
        measure_importance(backbone, sites, [broken], times_weight=False, device=CPU, precision="fp32")
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
