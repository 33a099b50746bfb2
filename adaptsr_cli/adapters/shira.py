"""SHiRA (Bhardwaj et al. 2024): a sparse high-rank update, W' = W0 + D with a D that is zero but at chosen entries.

The entries are those of the largest importance: magnitude in W0 (the paper's SHiRA-WM), drawn at random (SHiRA-Rand),
or |w dL/dw| (SHiRA-SNIP; Lee et al. 2019). They are kept in the adapter file.

Trainable parameters: the sum over the planned sites of rank x rank cost, exactly what the rank map says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import AdapterLayout, AdapterPlacement, AdapterSpec, MethodSpec, SiteAdapter
from adaptsr_cli.errors import ArtifactError


class SparseUpdate(SiteAdapter):
    """The update of chosen entries of one site.

    Args:
        importance: One number for each entry of the weight, in its shape.
        count: How many entries train.

    Attributes:
        values: (count,) update of each entry; zero at the start.
        entries: (count,) int64 places in the flattened weight, ascending.
    """

    entries: Tensor

    def __init__(self, importance: Tensor, count: int) -> None:
        super().__init__()
        self._size = importance.numel()
        # On the CPU and stable, so that every machine resolves ties the same way.
        order = torch.argsort(importance.flatten().cpu(), descending=True, stable=True)
        self.register_buffer("entries", order[:count].sort().values)
        self.values = nn.Parameter(torch.zeros(count))

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """W0 + D."""
        return weight.flatten().index_add(0, self.entries, self.values.to(weight.dtype)).view(weight.shape)

    def check(self, place: str) -> None:
        """Refuse entries outside of the weight, or named twice."""
        ascending = bool((self.entries.diff() > 0).all())
        if not ascending or int(self.entries[0]) < 0 or int(self.entries[-1]) >= self._size:
            raise ArtifactError(f"{place}: its sparse entries are damaged", "train the adapter again")


def place_shira(spec: AdapterSpec) -> AdapterLayout:
    """Place updates of as many single weights as the planned rank costs, at every planned site."""
    measured = spec.importance
    placements = []
    for site, rank in spec.plan:
        importance = spec.weight(site).abs() if measured is None else measured[site.name]
        placements.append(AdapterPlacement.at(site, SparseUpdate(importance, rank * site.rank_cost)))
    return AdapterLayout(tuple(placements))


def draw_importance(plan: Sequence[tuple[Site, int]], seed: int) -> dict[str, Tensor]:
    """Draw a random importance for the entries of every planned site, by its name: the mask SHiRA-Rand."""
    generator = torch.Generator().manual_seed(seed)
    return {site.name: torch.rand(site.shape, generator=generator) for site, rank in plan if rank}


METHOD: Final = MethodSpec(
    name="shira",
    place=place_shira,
    summary="single weights chosen by their importance",
    learning_rate_factor=3.0,
    masks=("magnitude", "random", "snip"),
)
