"""The other factorisations of convolutions, and factors that start at the weight's leading part: their algebra."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional

from adaptsr_cli.adapters.attach import attach
from adaptsr_cli.adapters.factors import KernelFirstFactors, LowRankFactors, SingleKernelFactors
from adaptsr_cli.adapters.pissa import PrincipalFactors
from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.artifacts.base import Factorization
from adaptsr_cli.backbones.backbone import Traits
from adaptsr_cli.errors import ArtifactError

OTHERS: tuple[Factorization, ...] = ("kxk-1x1", "single")


def only_site(layer: nn.Module) -> tuple[nn.ModuleDict, Site]:
    model = nn.ModuleDict({"c": deepcopy(layer)})  # the layers of parametrised tests are shared
    (site,) = find_sites(model, Traits()).sites
    return model, site


def filled(factors: nn.Module) -> None:
    for parameter in factors.parameters():
        nn.init.normal_(parameter)


@pytest.mark.parametrize("groups", [1, 2])
def test_kernels_first_is_a_convolution_and_a_1x1(groups: int) -> None:
    _, site = only_site(nn.Conv2d(8, 12, 3, groups=groups))
    factors = KernelFirstFactors(site, rank=2, scaling=1.5)
    filled(factors)
    image = torch.randn(2, 8, 9, 7)
    inner = functional.conv2d(image, factors.lora_A.repeat(groups, 1, 1, 1), padding=1, groups=groups)
    expected = 1.5 * functional.conv2d(inner, factors.lora_B, groups=groups)
    update = functional.conv2d(image, factors.delta(), padding=1, groups=groups)
    torch.testing.assert_close(update, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("groups", [1, 2])
def test_single_kernel_is_three_convolutions(groups: int) -> None:
    """1x1 to r channels, one kernel for each of them, 1x1 to the output."""
    _, site = only_site(nn.Conv2d(8, 12, (3, 5), groups=groups))
    factors = SingleKernelFactors(site, rank=4, scaling=0.5)
    filled(factors)
    image = torch.randn(2, 8, 9, 7)
    inner = functional.conv2d(image, factors.lora_A.repeat(groups, 1, 1, 1), groups=groups)
    kernels = factors.lora_K.unsqueeze(1).repeat(groups, 1, 1, 1)
    inner = functional.conv2d(inner, kernels, padding=(1, 2), groups=4 * groups)
    expected = 0.5 * functional.conv2d(inner, factors.lora_B, groups=groups)
    update = functional.conv2d(image, factors.delta(), padding=(1, 2), groups=groups)
    torch.testing.assert_close(update, expected, atol=1e-4, rtol=1e-4)


def test_single_kernels_start_at_length_1() -> None:
    model, site = only_site(nn.Conv2d(8, 12, 3))
    factors = attach(model, [(site, 2)], alpha=1.0, factorization="single").adapters["c"]
    assert isinstance(factors, SingleKernelFactors)
    torch.testing.assert_close(factors.lora_K.flatten(1).norm(dim=1), torch.ones(factors.rank))


@pytest.mark.parametrize("kind", [LowRankFactors, KernelFirstFactors, SingleKernelFactors])
def test_product_weights_the_ranks(kind: type[LowRankFactors]) -> None:
    _, site = only_site(nn.Conv2d(8, 12, 3))
    factors = kind(site, rank=3, scaling=2.0)
    filled(factors)
    torch.testing.assert_close(2 * factors.product(torch.ones(3)), factors.delta())
    ranks = [factors.product(row) for row in torch.eye(3)]
    torch.testing.assert_close(factors.product(torch.tensor([1.0, -2.0, 3.0])), ranks[0] - 2 * ranks[1] + 3 * ranks[2])


@pytest.mark.parametrize(
    ("layer", "factorization", "ranks"),
    [
        # 2 ranks at 8 + 12 * 9 = 116 each pay for 2 at 8 * 9 + 12 = 84, and for 8 at 8 + 9 + 12 = 29.
        (nn.Conv2d(8, 12, 3), "kxk-1x1", 2),
        (nn.Conv2d(8, 12, 3), "single", 8),
        # 2 ranks at 30 + 6 * 9 = 84 pay for none at 30 * 9 + 6 = 276.
        (nn.Conv2d(30, 6, 3), "kxk-1x1", 0),
        (nn.Conv2d(30, 6, 3), "single", 3),
        (nn.Conv2d(8, 12, 1), "kxk-1x1", 2),
        (nn.Conv2d(8, 12, 1), "single", 2),
        (nn.Linear(8, 12), "kxk-1x1", 2),
        (nn.Linear(8, 12), "single", 2),
    ],
)
def test_a_planned_rank_buys_whole_ranks(layer: nn.Module, factorization: Factorization, ranks: int) -> None:
    model, site = only_site(layer)
    if not ranks:
        with pytest.raises(
            ArtifactError, match=f"no planned rank pays for one rank of `conv_factorization` {factorization}"
        ):
            attach(model, [(site, 2)], alpha=1.0, factorization=factorization)
        return
    attachment = attach(model, [(site, 2)], alpha=6.0, factorization=factorization)
    factors = attachment.adapters["c"]
    assert isinstance(factors, LowRankFactors | KernelFirstFactors | SingleKernelFactors)
    assert (factors.rank, factors.scaling) == (ranks, 6 / ranks)
    assert attachment.params == ranks * site.factor_cost(factorization) <= 2 * site.rank_cost
    model, site = only_site(layer)
    largest = attach(model, [(site, site.max_rank)], alpha=1.0, factorization=factorization)
    assert largest.params <= site.params


@pytest.mark.parametrize("factorization", OTHERS)
def test_sites_that_buy_nothing_are_left_alone(factorization: Factorization) -> None:
    model = nn.ModuleDict({"narrow": nn.Conv2d(30, 2, 3), "wide": nn.Conv2d(8, 12, 3)})
    plan = [(site, 1) for site in find_sites(model, Traits()).sites]
    attachment = attach(model, plan, alpha=1.0, factorization=factorization)
    # One rank of the narrow layer costs 30 + 2 * 9 = 48, of the others 272 and 41.
    assert list(attachment.adapters) == (["wide"] if factorization == "kxk-1x1" else ["narrow", "wide"])


@pytest.mark.parametrize(
    "layer", [nn.Linear(9, 12), nn.Conv2d(8, 12, 3), nn.Conv2d(8, 12, 1), nn.Conv2d(8, 12, 3, groups=2)]
)
@pytest.mark.parametrize("factorization", ["1x1-kxk", "kxk-1x1"])
def test_pissa_starts_at_the_leading_part(layer: nn.Module, factorization: Factorization) -> None:
    model, site = only_site(layer)
    weight = model["c"].weight.detach().clone()
    kernels_last = factorization == "1x1-kxk" and weight.dim() == 4

    def matrix(tensor: torch.Tensor) -> torch.Tensor:
        return (tensor.permute(0, 2, 3, 1).flatten(0, 2) if kernels_last else tensor.flatten(1)).detach()

    attachment = attach(model, [(site, 2)], alpha=6.0, factorization=factorization, principal=True)
    factors = attachment.adapters["c"]
    assert isinstance(factors, PrincipalFactors)
    assert torch.equal(model["c"].weight, weight)
    kept = factors.lora_A.detach().clone(), factors.lora_B.detach().clone()
    with torch.no_grad():
        factors.lora_A.zero_()
        factors.lora_B.zero_()
        left = matrix(model["c"].weight)  # W0 - s B0 A0
    values = torch.linalg.svdvals(matrix(weight))
    found = torch.linalg.svdvals(left)
    torch.testing.assert_close(found[: len(values) - factors.rank], values[factors.rank :], atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        factors.lora_A.copy_(kept[0])
        factors.lora_B.copy_(3 * kept[1])
    torch.testing.assert_close(matrix(model["c"].weight), matrix(weight) + 2 * (matrix(weight) - left))


def test_pissa_of_a_zero_weight_can_move() -> None:
    model, site = only_site(nn.Conv2d(8, 12, 3))
    nn.init.zeros_(model["c"].weight)
    attach(model, [(site, 2)], alpha=1.0, principal=True)
    assert not model["c"].weight.any()
    (model["c"].weight * torch.randn(site.shape)).sum().backward()
    adapter = next(module for module in model.modules() if isinstance(module, PrincipalFactors))
    assert adapter.lora_B.grad is not None
    assert adapter.lora_B.grad.any()


def test_pissa_of_a_row_block_is_its_own() -> None:
    model = nn.ModuleDict({"qkv": nn.Linear(8, 24)})
    _, k, _ = find_sites(model, Traits(fused_qkv=("qkv",))).sites
    weight = model["qkv"].weight.detach().clone()
    factors = attach(model, [(k, 2)], alpha=1.0, principal=True).adapters["qkv#k"]
    assert isinstance(factors, PrincipalFactors)
    left, values, right = torch.linalg.svd(weight[8:16])
    leading = left[:, :2] @ torch.diag(values[:2]) @ right[:2]
    torch.testing.assert_close(factors.scaling * factors.lora_B @ factors.lora_A, leading)
