"""SHiRA (Bhardwaj et al. 2024): a sparse high-rank update, W' = W0 + D with a D that is zero but at chosen entries.

The entries are those of the largest importance. In every site by itself: by magnitude in W0 (the paper's SHiRA-WM),
drawn at random (SHiRA-Rand) or by |w dL/dw| (SHiRA-SNIP; Lee et al. 2019). Over all planned sites together: by how far
a short full fine-tuning moves them (LT-SFT; Ansell et al. 2022), so that the budget goes where weights have to change.
The adapter file keeps them.

Trainable parameters: the sum over the planned sites of rank x rank cost, exactly what the rank map says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import AdapterLayout, AdapterPlacement, AdapterSpec, MethodSpec, SiteAdapter
from adaptsr_cli.errors import ArtifactError

PlannedSites = Sequence[tuple[Site, int]]

_ENTRIES: Final = ".entries"


class SparseUpdate(SiteAdapter):
    """The update of chosen entries of one site.

    Args:
        site: The site.
        entries: (count,) places in its flattened weight.

    Attributes:
        values: (count,) update of each entry; zero at the start.
        entries: (count,) int64, ascending.
    """

    entries: Tensor

    def __init__(self, site: Site, entries: Tensor) -> None:
        super().__init__()
        self._size = site.params
        self.register_buffer("entries", entries.long())
        self.values = nn.Parameter(torch.zeros(entries.shape))

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """W0 + D."""
        return weight.flatten().index_add(0, self.entries, self.values.to(weight.dtype)).view(weight.shape)

    def check(self, place: str) -> None:
        """Refuse entries outside of the weight, or named twice."""
        ascending = bool((self.entries.diff() > 0).all())
        if not ascending or int(self.entries[0]) < 0 or int(self.entries[-1]) >= self._size:
            raise ArtifactError(f"{place}: its sparse entries are damaged", "train the adapter again")


def place_shira(spec: AdapterSpec) -> AdapterLayout:
    """Place updates of single weights at the planned sites.

    Raises:
        ArtifactError: The entries are not as many as the planned ranks cost, or not in lists.
    """
    entries = spec.entries
    if entries is None:
        entries = choose_by_site({site.name: spec.weight(site).abs() for site, _ in spec.plan}, spec.plan)
    count = sum(len(chosen) for chosen in entries.values() if chosen.dim() == 1)
    if count != _cost(spec.plan) or any(not chosen.numel() for chosen in entries.values()):
        raise ArtifactError(
            f"{count:,} sparse entries are not what the ranks cost, {_cost(spec.plan):,}", "train the adapter again"
        )
    return AdapterLayout(
        tuple(
            AdapterPlacement.at(site, SparseUpdate(site, entries[site.name]))
            for site, _ in spec.plan
            if site.name in entries
        )
    )


def choose_by_site(importance: Mapping[str, Tensor], plan: PlannedSites) -> dict[str, Tensor]:
    """Choose as many entries of every site as its rank costs.

    Args:
        importance: One number for each entry of the weight, in its shape, by site name.
        plan: Sites with their ranks, at least 1.

    Returns:
        Places in the flattened weight, int64, ascending, by site name.
    """
    return {site.name: _largest(importance[site.name].flatten(), rank * site.rank_cost) for site, rank in plan}


def choose_over_sites(importance: Mapping[str, Tensor], plan: PlannedSites) -> dict[str, Tensor]:
    """Choose as many entries as all ranks cost, wherever they are; as `choose_by_site`, without the sites of none."""
    sites = [site for site, _ in plan]
    chosen = _largest(torch.cat([importance[site.name].flatten() for site in sites]), _cost(plan))
    found, first = {}, 0
    for site in sites:
        last = first + site.params
        own = chosen[(chosen >= first) & (chosen < last)] - first
        if len(own):
            found[site.name] = own
        first = last
    return found


def _largest(importance: Tensor, count: int) -> Tensor:
    """Places of the largest of (n,) numbers, ascending."""
    # On the CPU and stable, so that every machine resolves ties the same way.
    order = torch.argsort(importance.cpu(), descending=True, stable=True)
    return order[:count].sort().values


def _cost(plan: PlannedSites) -> int:
    """Parameters that all ranks cost together."""
    return sum(rank * site.rank_cost for site, rank in plan)


def read_entries(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The entries of a stored adapter by site name; None where it has none."""
    found = {name.removesuffix(_ENTRIES): tensor for name, tensor in tensors.items() if name.endswith(_ENTRIES)}
    return found or None


def draw_importance(plan: PlannedSites, seed: int) -> dict[str, Tensor]:
    """Draw a random importance for the entries of every planned site, by its name: the mask SHiRA-Rand."""
    generator = torch.Generator().manual_seed(seed)
    return {site.name: torch.rand(site.shape, generator=generator) for site, _ in plan}


METHOD: Final = MethodSpec(
    name="shira",
    place=place_shira,
    summary="single weights chosen by their importance",
    learning_rate_factor=3.0,
    masks=("movement", "magnitude", "random", "snip"),
)
