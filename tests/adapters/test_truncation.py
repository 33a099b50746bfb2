"""Truncated updates: the nearest of their rank, with an error that is what was dropped."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adaptsr_cli.adapters.attach import attach
from adaptsr_cli.adapters.factors import KernelFirstFactors, LowRankFactors
from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.adapters.truncation import MatrixFactors, decompose, put_factors
from adaptsr_cli.backbones.backbone import Traits

SITES = {
    "linear": Site("fc", "fc", None, "linear", "", (12, 20)),
    "conv": Site("conv", "conv", None, "conv", "", (10, 8, 3, 3)),
    "pointwise": Site("conv", "conv", None, "conv", "", (16, 12, 1, 1)),
}


KINDS = [*SITES, "kernels first"]


def trained(kind: str, rank: int, scaling: float = 2.0) -> MatrixFactors:
    site = SITES.get(kind, SITES["conv"])
    factors = KernelFirstFactors(site, rank, scaling) if kind not in SITES else LowRankFactors(site, rank, scaling)
    generator = torch.Generator().manual_seed(rank)
    with torch.no_grad():
        for parameter in factors.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return factors


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_is_what_was_dropped(kind: str) -> None:
    update = trained(kind, 4).delta().detach()
    spectrum = decompose(update, kernels_first=kind not in SITES)
    assert len(spectrum.values) == 4  # rounding is no rank
    assert sum(spectrum.energies) == pytest.approx(float(update.double().square().sum()), rel=1e-6)
    for rank in range(1, 6):
        target = trained(kind, 5)
        put_factors(target, *spectrum.factors(rank))
        error = float((target.delta().detach() - update).double().square().sum())
        assert error == pytest.approx(sum(spectrum.energies[rank:]), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_new_ranks_change_nothing_and_can_learn(kind: str) -> None:
    update = trained(kind, 2).delta().detach()
    target = trained(kind, 6, scaling=0.3)
    before = target.lora_A.detach().clone()
    put_factors(target, *decompose(update, kernels_first=kind not in SITES).factors(2))
    torch.testing.assert_close(target.delta(), update, rtol=1e-5, atol=1e-6)
    assert torch.equal(target.lora_A[2:], before[2:])
    target.delta().square().sum().backward()
    assert target.lora_B.grad is not None
    assert float(target.lora_B.grad[:, 2:].abs().max()) > 0


def test_an_update_of_zero_has_no_ranks() -> None:
    spectrum = decompose(torch.zeros(4, 5))
    assert spectrum.energies == ()
    across, tall = spectrum.factors(3)
    assert (across.shape, tall.shape) == ((0, 5), (4, 0))


def test_switching_off_gives_the_backbone() -> None:
    network = nn.Sequential(nn.Linear(20, 30))
    image = torch.rand(1, 20)
    plain = network(image)
    attachment = attach(network, [(site, 2) for site in find_sites(network, Traits()).sites], alpha=1.0)
    with torch.no_grad():
        for parameter in attachment.parameters():
            parameter.fill_(0.1)
    adapted = network(image)
    assert not torch.equal(adapted, plain)
    with attachment.switched_off():
        assert torch.equal(network(image), plain)
    assert torch.equal(network(image), adapted)
