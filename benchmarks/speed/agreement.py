"""Whether our training step computes what the peers compute: outputs and gradients, at the same factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from contenders import RANK, build, find_all_sites, make_backbone
from torch import Tensor, nn

from adaptsr_cli.adapters.attach import Attachment, attach
from adaptsr_cli.adapters.factors import LowRankFactors
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.step import GradientStep

LR_PX = 16


@dataclass(frozen=True)
class Case:
    """Our network with its adapters, and one batch."""

    backbone: Backbone
    attachment: Attachment
    lr: Tensor
    hr: Tensor

    def gradients(self, device: torch.device) -> dict[str, Tensor]:
        """The gradients of our training step by name, and the output as ``sr``."""
        from pathlib import Path

        objective = make_objective("l1", weights_dir=Path(), device=device, seed=0, iterations=1, scale=4)
        step = GradientStep(self.backbone, self.attachment, objective, device=device, precision="fp32")
        means, sr = step.run(self.lr, self.hr, 0)
        means.put_back()
        return {"sr": sr, **_named_gradients(self.attachment)}


def _named_gradients(attachment: Attachment) -> dict[str, Tensor]:
    found = {}
    for prefix, adapter in attachment.adapters.items():
        for name, parameter in adapter.named_parameters():
            assert parameter.grad is not None
            found[f"{prefix}.{name}"] = parameter.grad.clone()
    return found


def _make_case(name: str, device: torch.device, plan: list[tuple[Site, int]], *, fused: bool) -> Case:
    backbone = make_backbone(name, build(name), fused=fused).to(device)
    attachment = attach(backbone.model, plan, alpha=1.0, seed=1)
    generator = torch.Generator().manual_seed(2)
    for adapter in attachment.adapters.values():
        assert isinstance(adapter, LowRankFactors)
        adapter.scaling = 1.0
        with torch.no_grad():
            adapter.lora_B.copy_(0.01 * torch.randn(adapter.lora_B.shape, generator=generator))
    lr = torch.rand(2, 3, LR_PX, LR_PX, generator=generator).to(device)
    hr = torch.rand(2, 3, 4 * LR_PX, 4 * LR_PX, generator=generator).to(device)
    return Case(backbone, attachment, lr, hr)


def compare_with_published(name: str, device: torch.device) -> float:
    """The largest relative difference of output and gradients from the published code with plain parametrizations."""
    plan = [(site, min(RANK, site.max_rank)) for site in find_all_sites(name, build(name))]
    ours = _make_case(name, device, plan, fused=True)
    plain = _make_case(name, device, plan, fused=False)
    found = ours.gradients(device)
    sr = super_resolve(plain.backbone, plain.lr)
    torch.autograd.backward(nn.functional.l1_loss(sr, plain.hr))
    expected = {"sr": sr.detach(), **_named_gradients(plain.attachment)}
    return max(_difference(found[key], expected[key]) for key in expected)


def compare_with_peft(name: str, device: torch.device) -> float:
    """The largest relative difference of ours in fp32 from peft's LoRA with the same update in float64.

    In fp32 peft's own gradients are up to 0.5 % from those (DRCT), ours 2e-6.

    peft's convolution is k x k to r and 1 x 1 back, ours 1 x 1 to r and k x k back. Its update is one of ours with
    k k r ranks, each of which reads one place of the kernel; sites for which that is too large are left out. Its fused
    projection shares one A between our q, k and v.
    """
    from peft import LoraConfig, inject_adapter_in_model

    rank = 2
    sites = [
        site
        for site in find_all_sites(name, build(name))
        if rank * _area(site) <= site.max_rank and (site.rows is None or 3 * rank <= site.max_rank)
    ]
    ours = _make_case(name, device, [(site, rank * _area(site)) for site in sites], fused=True)
    modules = sorted({site.module for site in sites})
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=modules)
    peer = inject_adapter_in_model(config, build(name)).to(device)
    generator = torch.Generator().manual_seed(3)
    for module in modules:
        layer = peer.get_submodule(module)
        for part, size in ((layer.lora_A["default"], 0.1), (layer.lora_B["default"], 0.05)):
            with torch.no_grad():
                part.weight.copy_(size * torch.randn(part.weight.shape, generator=generator))
    for site in sites:
        layer = peer.get_submodule(site.module)
        adapter = ours.attachment.adapters[site.name]
        assert isinstance(adapter, LowRankFactors)
        down, up = layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach()
        with torch.no_grad():
            adapter.lora_A.copy_(_our_down(site, down).view(adapter.lora_A.shape))
            adapter.lora_B.copy_(_our_up(site, up).view(adapter.lora_B.shape))
    found = ours.gradients(device)
    peer.double()
    sr = peer(ours.lr.double())
    torch.autograd.backward(nn.functional.l1_loss(sr, ours.hr.double()))
    worst = _difference(found["sr"], sr.detach())
    for module in modules:
        layer = peer.get_submodule(module)
        own = [site for site in sites if site.module == module]
        to_down = sum(_peft_down(site, found[f"{site.name}.lora_A"]) for site in own)
        to_up = torch.cat([_peft_up(site, found[f"{site.name}.lora_B"]) for site in own])
        assert isinstance(to_down, Tensor)
        for part, gradient in ((layer.lora_A["default"], to_down), (layer.lora_B["default"], to_up)):
            worst = max(worst, _difference(gradient.reshape(part.weight.shape), part.weight.grad))
    return worst


def _area(site: Site) -> int:
    area = 1
    for size in site.shape[2:]:
        area *= size
    return area


def _our_down(site: Site, down: Tensor) -> Tensor:
    """Peft's (r, Cin, k, k) as our (r k k, Cin)."""
    return down.flatten(2).transpose(1, 2).reshape(-1, site.shape[1]) if site.shape[2:] else down


def _our_up(site: Site, up: Tensor) -> Tensor:
    """Peft's (Cout, r, 1, 1) as our (Cout, r k k, k k), each rank at its own place; the rows of a block of q, k, v."""
    if not site.shape[2:]:
        return up if site.rows is None else up[site.rows[0] : site.rows[1]]
    return (up.flatten(1)[:, :, None, None] * torch.eye(_area(site), device=up.device)).flatten(1, 2)


def _peft_down(site: Site, gradient: Tensor) -> Tensor:
    """The gradient of our (r k k, Cin) as that of peft's (r, Cin, k k)."""
    if not site.shape[2:]:
        return gradient
    return gradient.view(-1, _area(site), site.shape[1]).transpose(1, 2)


def _peft_up(site: Site, gradient: Tensor) -> Tensor:
    """The gradient of our (Cout, r k k, k k) as that of peft's (Cout, r): the sum over the places."""
    if not site.shape[2:]:
        return gradient
    area = _area(site)
    return gradient.reshape(site.shape[0], -1, area, area).diagonal(dim1=2, dim2=3).sum(-1)


def _difference(found: Tensor, expected: Tensor | None) -> float:
    """||found - expected|| / ||expected||."""
    assert expected is not None
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))
