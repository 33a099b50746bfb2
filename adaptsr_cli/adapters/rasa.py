"""RaSA (He et al. 2025): part of every layer's rank comes from a pool that layers of one shape share.

W' = W0 + s (B A + B_pool diag(d) A_pool), with B, A, d and the scale s of the layer, and the pool of all.

Trainable parameters, for the L planned sites of one shape with rank cost c: every site gives k_i = ceil(r_i / 8) of its
ranks, K together, for a pool of P = floor(K c / (c + L)) ranks: sum of (r_i - k_i) c + P (c + L), at most the budget's
sum of r_i c. Where P is 0 (a shape that only one site has) nothing is shared: sum of r_i c. By another factorisation c
is its cost of a rank, and r_i how many of these the planned rank pays for; sites where that is none do not take part.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.factors import Factors, new_factors
from adaptsr_cli.adapters.lora import require_paid
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import AdapterLayout, AdapterPlacement, AdapterSpec, MethodSpec, SiteAdapter

_RANKS_PER_SHARED = 8  # of so many ranks of a site one goes into the pool


class SharedRankUpdate(SiteAdapter):
    """The update of one site.

    Args:
        own: Its own factors; None where it gave all its ranks.
        pool: Factors that it shares.
        scaling: What the update is multiplied with.

    Attributes:
        diagonal: (P,) weights d of the pool's ranks; 1 at the start, where the pool's B is zero.
    """

    def __init__(self, own: Factors | None, pool: Factors, scaling: float) -> None:
        super().__init__()
        self.pool = pool
        self.own = own
        self.diagonal = nn.Parameter(torch.ones(pool.rank))
        self.scaling = scaling

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """W0 + s (B A + B_pool diag(d) A_pool)."""
        shared = self.pool.product(self.diagonal) * self.scaling
        adapted = weight + shared.to(weight.dtype)
        return adapted if self.own is None else self.own.adapt_weight(adapted)


def place_rasa(spec: AdapterSpec) -> AdapterLayout:
    """Place own factors at every planned site, and a pool for each shape that several of them have.

    Raises:
        ArtifactError: No planned rank pays for one rank of the factorisation.
    """
    bought = [(site, rank) for site, planned in spec.plan if (rank := spec.buy(site, planned))]
    groups: dict[tuple[int, ...], list[tuple[Site, int]]] = {}
    for site, rank in bought:
        groups.setdefault(site.shape, []).append((site, rank))
    pools: dict[tuple[int, ...], Factors] = {}
    for shape, members in groups.items():
        cost = members[0][0].factor_cost(spec.factorization)
        given = sum(_given(rank) for _, rank in members)
        if pooled := given * cost // (cost + len(members)):
            # The scaling is that of each site, since it goes by the rank that the site gave.
            pools[shape] = _new_factors(spec, members[0][0], pooled, 1.0)
    placements = []
    for site, rank in bought:
        scaling = spec.scaling(rank)
        if (pool := pools.get(site.shape)) is None:
            placements.append(AdapterPlacement.at(site, _new_factors(spec, site, rank, scaling)))
            continue
        kept = rank - _given(rank)
        own = _new_factors(spec, site, kept, scaling) if kept else None
        placements.append(AdapterPlacement.at(site, SharedRankUpdate(own, pool, scaling)))
    shared = {f"pool#{'x'.join(map(str, shape))}": pool for shape, pool in pools.items()}
    return AdapterLayout(require_paid(spec, placements), shared)


def _given(rank: int) -> int:
    """Count the ranks that a site gives to the pool."""
    return -(-rank // _RANKS_PER_SHARED)


def _new_factors(spec: AdapterSpec, site: Site, rank: int, scaling: float) -> Factors:
    return new_factors(site, rank, scaling, spec.factorization, spec.generator)


METHOD: Final = MethodSpec(
    name="rasa",
    place=place_rasa,
    summary="low-rank updates with a part of the ranks in a pool that layers of one shape share",
    factorizations=("1x1-kxk", "kxk-1x1", "single"),
    is_low_rank=True,
)
