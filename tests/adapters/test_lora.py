"""Low-rank updates: their algebra, on every kind of layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from adaptsr_cli.adapters.attach import attach, detach, fold
from adaptsr_cli.adapters.factors import LowRankFactors, unfold_for_factors
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.artifacts.base import LoraScaling
from adaptsr_cli.backbones.backbone import Traits
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.ranking.spectrum import leading_directions


def trained(factors: LowRankFactors) -> LowRankFactors:
    for parameter in factors.parameters():
        nn.init.normal_(parameter)
    return factors


@pytest.mark.parametrize("groups", [1, 2])
def test_conv_update_is_the_two_convolutions_of_equation_2(groups: int) -> None:
    """(alpha / r) B * (A * x) computed as the paper writes it, against one convolution with the update."""
    layer = nn.Conv2d(8, 12, 3, padding=1, groups=groups, bias=False)
    site = find_sites(nn.ModuleDict({"c": layer}), Traits()).sites[0]
    factors = trained(LowRankFactors(site, rank=2, scaling=1.5))
    image = torch.randn(2, 8, 9, 7)
    # A mixes the channels of one group and is shared by all groups; B then acts in its group.
    shared_a = factors.lora_A.repeat(groups, 1, 1, 1)
    inner = functional.conv2d(image, shared_a, groups=groups)
    expected = 1.5 * functional.conv2d(inner, factors.lora_B, padding=1, groups=groups)
    update = functional.conv2d(image, factors.delta(), padding=1, groups=groups)
    torch.testing.assert_close(update, expected)


def test_linear_update_is_equation_1() -> None:
    layer = nn.Linear(6, 10)
    site = find_sites(nn.ModuleDict({"l": layer}), Traits()).sites[0]
    factors = trained(LowRankFactors(site, rank=3, scaling=2.0 / 3.0))
    torch.testing.assert_close(factors.delta(), 2.0 / 3.0 * factors.lora_B @ factors.lora_A)
    assert torch.linalg.matrix_rank(factors.delta()) == 3


def test_row_blocks_of_a_fused_projection_are_independent() -> None:
    model = nn.ModuleDict({"qkv": nn.Linear(8, 24)})
    before = model["qkv"].weight.detach().clone()
    q, _, v = find_sites(model, Traits(fused_qkv=("qkv",))).sites
    attachment = attach(model, [(v, 2), (q, 1)], alpha=1.0)
    for factors in attachment.adapters.values():
        trained(factors)
    change = model["qkv"].weight - before
    torch.testing.assert_close(change[:8], attachment.adapters["qkv#q"].delta())
    assert not change[8:16].any()
    torch.testing.assert_close(change[16:], attachment.adapters["qkv#v"].delta())


def test_parameter_count_is_the_formula() -> None:
    model = nn.ModuleDict({"c": nn.Conv2d(8, 12, 3), "l": nn.Linear(30, 40)})
    conv, linear = find_sites(model, Traits()).sites
    attachment = attach(model, [(conv, 2), (linear, 5)], alpha=1.0)
    assert attachment.params == 2 * (8 + 12 * 9) + 5 * (30 + 40)
    assert attachment.params == 2 * conv.rank_cost + 5 * linear.rank_cost


def test_rank_zero_attaches_nothing_and_too_large_ranks_are_refused() -> None:
    model = nn.ModuleDict({"c": nn.Conv2d(8, 12, 3)})
    site = find_sites(model, Traits()).sites[0]
    assert attach(model, [(site, 0)], alpha=1.0).params == 0
    assert type(model["c"]) is nn.Conv2d
    with pytest.raises(ArtifactError, match="larger than the weight"):
        attach(model, [(site, site.max_rank + 1)], alpha=1.0)


def test_same_seed_same_start() -> None:
    def start(seed: int) -> torch.Tensor:
        model = nn.ModuleDict({"c": nn.Conv2d(8, 12, 3)})
        attachment = attach(model, [(find_sites(model, Traits()).sites[0], 2)], alpha=1.0, seed=seed)
        return attachment.state()["c.lora_A"]

    assert torch.equal(start(1), start(1))
    assert not torch.equal(start(1), start(2))


def test_detach_restores_and_fold_keeps() -> None:
    model = nn.ModuleDict({"c": nn.Conv2d(8, 12, 3)})
    site = find_sites(model, Traits()).sites[0]
    before = model["c"].weight.detach().clone()
    attachment = attach(model, [(site, 2)], alpha=1.0)
    trained(attachment.adapters["c"])
    detach(attachment)
    assert torch.equal(model["c"].weight, before)
    attachment = attach(model, [(site, 2)], alpha=1.0)
    delta = trained(attachment.adapters["c"]).delta()
    fold(attachment)
    assert torch.equal(model["c"].weight, before + delta)
    assert model.state_dict().keys() == {"c.weight", "c.bias"}


def test_loading_is_strict() -> None:
    model = nn.ModuleDict({"weight_c": nn.Conv2d(8, 12, 3)})  # a name with "weight" in it (R7)
    attachment = attach(model, [(find_sites(model, Traits()).sites[0], 2)], alpha=1.0)
    state = attachment.state()
    attachment.load(state, "a.safetensors")
    with pytest.raises(ArtifactError, match=r"lacks weight_c\.lora_B"):
        attachment.load({"weight_c.lora_A": state["weight_c.lora_A"]}, "a.safetensors")
    with pytest.raises(ArtifactError, match="unexpected tensor other"):
        attachment.load(state | {"other": torch.zeros(1)}, "a.safetensors")
    with pytest.raises(ArtifactError, match="has shape"):
        attachment.load(state | {"weight_c.lora_A": torch.zeros(3, 8, 1, 1)}, "a.safetensors")
    with pytest.raises(ArtifactError, match="not finite"):
        attachment.load(state | {"weight_c.lora_A": state["weight_c.lora_A"] * torch.inf}, "a.safetensors")


@pytest.mark.parametrize(("rule", "scaling"), [("alpha/r", 2.0), ("alpha/sqrt(r)", 4.0)])
def test_scaling_of_the_update(rule: LoraScaling, scaling: float) -> None:
    model = nn.ModuleDict({"c": nn.Conv2d(8, 12, 3)})
    attachment = attach(model, [(find_sites(model, Traits()).sites[0], 4)], alpha=8.0, lora_scaling=rule)
    factors = attachment.adapters["c"]
    assert isinstance(factors, LowRankFactors)
    trained(factors)
    product = torch.einsum("orhw,ri->oihw", factors.lora_B, factors.lora_A[:, :, 0, 0])
    torch.testing.assert_close(factors.delta(), scaling * product)


def test_parameter_groups() -> None:
    model = nn.ModuleDict({"c": nn.Conv2d(8, 12, 3)})
    plan = [(find_sites(model, Traits()).sites[0], 2)]
    attachment = attach(model, plan, alpha=1.0)
    factors = attachment.adapters["c"]
    slow, fast = attachment.parameter_groups(16.0)
    assert (slow["params"], slow["ratio"]) == ([factors.lora_A], 1.0)
    assert (fast["params"], fast["ratio"]) == ([factors.lora_B], 16.0)
    (group,) = attachment.parameter_groups(1.0)
    assert group["params"] == [factors.lora_A, factors.lora_B]
    detach(attachment)
    with pytest.raises(UsageError, match="low-rank factors"):
        attach(model, plan, alpha=1.0, method="shira").parameter_groups(16.0)


@pytest.mark.parametrize("layer", [nn.Linear(6, 9), nn.Conv2d(6, 9, 3)])
def test_gradient_start_makes_the_first_step_the_best_of_its_rank(layer: nn.Module) -> None:
    """With A at the leading directions the first gradient of B gives the truncated SVD of the weight's gradient."""
    model = nn.ModuleDict({"c": layer})
    (site,) = find_sites(model, Traits()).sites
    gradient = torch.randn(site.shape)
    directions = leading_directions(gradient, None, 2)
    assert directions is not None
    attachment = attach(model, [(site, 2)], alpha=2.0, directions={"c": directions})
    (model["c"].weight * gradient).sum().backward()
    factors = attachment.adapters["c"]
    assert isinstance(factors, LowRankFactors)
    with torch.no_grad():
        factors.lora_B.copy_(factors.lora_B.grad)
        step = 3 * unfold_for_factors(factors.delta())  # the rows of A are 3 ** -0.5 long
    left, values, right = torch.linalg.svd(unfold_for_factors(gradient), full_matrices=False)
    torch.testing.assert_close(step, left[:, :2] @ torch.diag(values[:2]) @ right[:2], atol=1e-4, rtol=1e-4)


def test_the_rows_of_all_starts_are_of_one_length() -> None:
    """Else a learning rate that suits one start would be too large for another."""
    model = nn.ModuleDict({"c": nn.Linear(512, 512)})
    (site,) = find_sites(model, Traits()).sites
    directions = leading_directions(torch.randn(site.shape), None, 32)
    assert directions is not None
    lengths = []
    for start in (None, {"c": directions}):
        attachment = attach(model, [(site, 32)], alpha=1.0, directions=start)
        factors = attachment.adapters["c"]
        assert isinstance(factors, LowRankFactors)
        lengths.append(factors.lora_A.norm(dim=1).mean())
        detach(attachment)
    torch.testing.assert_close(lengths[0], lengths[1], rtol=0.02, atol=0.0)


def test_directions_of_other_sites_are_refused() -> None:
    model = nn.ModuleDict({"c": nn.Conv2d(8, 12, 3)})
    plan = [(find_sites(model, Traits()).sites[0], 2)]
    for directions in ({}, {"c": torch.ones(2, 7)}, {"c": torch.full((2, 8), torch.nan)}):
        with pytest.raises(ArtifactError, match="missing or damaged"):
            attach(model, plan, alpha=1.0, directions=directions)
    with pytest.raises(UsageError, match="lora and dora"):
        attach(model, plan, alpha=1.0, directions={}, method="full")
