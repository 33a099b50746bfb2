"""Sparse updates: which entries they have, and what a file may not say of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adaptsr_cli.adapters.attach import attach
from adaptsr_cli.adapters.shira import choose_by_site, choose_over_sites, draw_importance
from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.backbones.backbone import Traits
from adaptsr_cli.errors import ArtifactError


def two_layers(rank: int = 3) -> tuple[nn.ModuleDict, list[tuple[Site, int]]]:
    model = nn.ModuleDict({"a": nn.Conv2d(8, 8, 3), "b": nn.Conv2d(8, 8, 3)})
    return model, [(site, rank) for site in find_sites(model, Traits()).sites]


@pytest.mark.parametrize("damage", [-1, 10**6, 0])
def test_damaged_sparse_entries_are_refused(damage: int) -> None:
    model, plan = two_layers()
    attachment = attach(model, plan, alpha=1.0, method="shira")
    state = attachment.state()
    entries = state["a.entries"].clone()
    entries[1] = damage if damage else entries[0]  # outside of the weight, or twice the same
    with pytest.raises(ArtifactError, match="sparse entries are damaged"):
        attachment.load(state | {"a.entries": entries}, "a.safetensors")
    with pytest.raises(ArtifactError, match=r"of torch\.float32, expected"):
        attachment.load(state | {"a.entries": entries.float()}, "a.safetensors")


@pytest.mark.parametrize("measured", [False, True])
def test_shira_takes_the_largest_entries(measured: bool) -> None:
    model, plan = two_layers()
    importance = {site.name: torch.randn(site.shape) for site, _ in plan} if measured else None
    entries = choose_by_site(importance, plan) if importance else None
    attachment = attach(model, plan, alpha=1.0, method="shira", entries=entries)
    magnitude = (model["a"].weight.detach().abs() if importance is None else importance["a"]).flatten()
    chosen = attachment.state()["a.entries"]
    rest = torch.ones(len(magnitude), dtype=torch.bool)
    rest[chosen] = False
    assert magnitude[chosen].min() >= magnitude[rest].max()


def test_entries_over_all_sites_go_where_importance_is() -> None:
    model, plan = two_layers()
    budget = sum(rank * site.rank_cost for site, rank in plan)
    importance = {"a": torch.rand(8, 8, 3, 3), "b": torch.rand(8, 8, 3, 3) + 0.5}
    entries = choose_over_sites(importance, plan)
    both = torch.cat([importance[name].flatten() for name in "ab"])
    expected = both.argsort(descending=True)[:budget].sort().values
    assert torch.equal(torch.cat([entries["a"], entries["b"] + 576]), expected)
    assert len(entries["a"]) < len(entries["b"])
    # A site without any is left as it is.
    model, plan = two_layers(rank=2)
    entries = choose_over_sites({"a": importance["a"], "b": importance["b"] + 1}, plan)
    attachment = attach(model, plan, alpha=1.0, method="shira", entries=entries)
    assert attachment.adapters.keys() == {"b"}
    assert attachment.params == sum(rank * site.rank_cost for site, rank in plan)
    with pytest.raises(ArtifactError, match="not what the ranks cost"):
        attach(two_layers()[0], plan, alpha=1.0, method="shira", entries={"b": entries["b"][1:]})


def test_random_importance_is_by_the_seed() -> None:
    _, plan = two_layers()
    first, again, other = (draw_importance(plan, seed)["a"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.4 < float(first.mean()) < 0.6
