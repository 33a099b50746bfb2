"""Importance of single weights, against the gradient by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from networks import save_tiny
from torch.nn.functional import l1_loss

from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import set_differentiable, super_resolve
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.errors import TrainingError
from adaptsr_cli.ranking.importance import measure_movement, measure_snip

CPU = torch.device("cpu")


def test_snip_is_the_weight_times_the_gradient_of_all_pairs(tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny("swinir", tmp_path / "net.safetensors"))
    sites = find_sites(backbone.model, backbone.traits).sites
    lr, hr = torch.rand(3, 3, 16, 16), torch.rand(3, 3, 64, 64)
    parts = [Batch(lr[:2], hr[:2]), Batch(lr[2:], hr[2:])]  # larger parts weigh more
    found = measure_snip(backbone, sites, [parts], device=CPU, precision="fp32")
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert all(parameter.grad is None for parameter in backbone.model.parameters())
    (fused,) = {site.module for site in sites if site.name.endswith("blocks.0.attn.qkv#k")}
    weight = backbone.model.get_parameter(f"{fused}.weight").requires_grad_(True)
    (gradient,) = torch.autograd.grad(l1_loss(super_resolve(backbone, lr), hr) * 3, weight)
    expected = (weight * gradient).abs().detach()
    torch.testing.assert_close(torch.cat([found[f"{fused}#{letter}"] for letter in "qkv"]), expected)
    assert {name: tensor.shape for name, tensor in found.items()} == {site.name: site.shape for site in sites}


def test_movement_is_what_adam_does_to_the_weights(tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny("swinir", tmp_path / "net.safetensors"))
    sites = find_sites(backbone.model, backbone.traits).sites
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    noise = torch.Generator().manual_seed(0)  # else a gradient near zero may change its sign with the rounding
    batches = [
        Batch(torch.rand(2, 3, 16, 16, generator=noise), torch.rand(2, 3, 64, 64, generator=noise)) for _ in range(3)
    ]
    in_parts = [[Batch(batch.lr[[place]], batch.hr[[place]]) for place in (0, 1)] for batch in batches]
    found = measure_movement(backbone, sites, in_parts, device=CPU, precision="fp32")
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    weights = {site.module: backbone.model.get_parameter(f"{site.module}.weight") for site in sites}
    optimizer = torch.optim.Adam([weight.requires_grad_(True) for weight in weights.values()], lr=1e-4)
    set_differentiable(backbone, True)
    for batch in batches:
        optimizer.zero_grad()
        l1_loss(super_resolve(backbone, batch.lr), batch.hr).backward()
        optimizer.step()
    (fused,) = {site.module for site in sites if site.name.endswith("blocks.0.attn.qkv#k")}
    moved = (weights[fused].detach() - before[f"{fused}.weight"]).abs()
    torch.testing.assert_close(torch.cat([found[f"{fused}#{letter}"] for letter in "qkv"]), moved, atol=1e-5, rtol=0)
    assert {name: tensor.shape for name, tensor in found.items()} == {site.name: site.shape for site in sites}


def test_a_loss_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny("safmn", tmp_path / "net.safetensors"))
    sites = find_sites(backbone.model, backbone.traits).sites
    broken = Batch(torch.full((1, 3, 8, 8), torch.nan), torch.rand(1, 3, 32, 32))
    with pytest.raises(TrainingError, match="not finite"):
        measure_snip(backbone, sites, [[broken]], device=CPU, precision="fp32")
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    whole = Batch(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 32))
    with pytest.raises(TrainingError, match="not finite"):
        measure_movement(backbone, sites, [[whole], [broken]], device=CPU, precision="fp32")
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
