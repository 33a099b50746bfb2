"""RaSA (He et al. 2025): part of every layer's rank comes from a pool that layers of one shape share.

W' = W0 + s (B A + B_pool diag(d) A_pool), with B, A, d and the scale s of the layer, and the pool of all.

Trainable parameters, for the L planned sites of one shape with rank cost c: every site gives k_i = ceil(r_i / 8) of its
ranks, K together, for a pool of P = floor(K c / (c + L)) ranks: sum of (r_i - k_i) c + P (c + L), at most the budget's
sum of r_i c. Where P is 0 (a shape that only one site has) nothing is shared: sum of r_i c.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.lora import LowRankFactors, multiply_factors
from adaptsr_cli.adapters.parametrization import Blueprint, Order, Placement, SiteAdapter
from adaptsr_cli.adapters.sites import Site

_SHARE = 8  # one rank in so many goes into the pool


class SharedRankUpdate(SiteAdapter):
    """The update of one site.

    Args:
        site: Where it goes.
        own_rank: Ranks that are its own; may be 0.
        pool: Factors that it shares.
        strength: What the update is multiplied with.

    Attributes:
        own: Its own factors; None where it gave all its ranks.
        diagonal: (P,) weights d of the pool's ranks; 1 at the start, where the pool's B is zero.
    """

    def __init__(self, site: Site, own_rank: int, pool: LowRankFactors, strength: float) -> None:
        super().__init__()
        self.pool = pool
        self.own = LowRankFactors(site, own_rank, strength) if own_rank else None
        self.diagonal = nn.Parameter(torch.ones(pool.rank))
        self.strength = strength

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """W0 + s (B A + B_pool diag(d) A_pool)."""
        weighted = self.pool.lora_A * self.diagonal.view(-1, *(1 for _ in self.pool.lora_A.shape[1:]))
        shared = multiply_factors(weighted, self.pool.lora_B) * self.strength
        adapted = weight + shared.to(weight.dtype)
        return adapted if self.own is None else self.own.adapt_weight(adapted)


def place_rasa(order: Order) -> Blueprint:
    """Own factors at every planned site, and a pool for each shape that several of them have."""
    groups: dict[tuple[int, ...], list[tuple[Site, int]]] = {}
    for site, rank in order.plan:
        groups.setdefault(site.shape, []).append((site, rank))
    pools: dict[tuple[int, ...], LowRankFactors] = {}
    for shape, members in groups.items():
        cost = members[0][0].rank_cost
        given = sum(_given(rank) for _, rank in members)
        if pooled := given * cost // (cost + len(members)):
            pools[shape] = LowRankFactors(members[0][0], pooled, 1.0)
            pools[shape].reset(order.generator)
    placements = []
    for site, rank in order.plan:
        if site.shape not in pools:
            factors = LowRankFactors(site, rank, order.strength(rank))
            factors.reset(order.generator)
            placements.append(Placement.at(site, factors))
            continue
        adapter = SharedRankUpdate(site, rank - _given(rank), pools[site.shape], order.strength(rank))
        if adapter.own is not None:
            adapter.own.reset(order.generator)
        placements.append(Placement.at(site, adapter))
    return Blueprint(tuple(placements), {f"pool#{'x'.join(map(str, shape))}": pool for shape, pool in pools.items()})


def _given(rank: int) -> int:
    """Ranks that a site gives to the pool."""
    return -(-rank // _SHARE)
