"""The method ``lora``: low-rank updates at every planned site, W' = W0 + s B A, by any factorisation and start.

Trainable parameters: the sum over the planned sites of rank x rank cost, which is what the rank map says. By another
factorisation with cost c of a rank: floor(rank x rank cost / c) ranks at each site, for c each.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

import torch

from adaptsr_cli.adapters.conv_factors import KernelFirstFactors, SingleKernelFactors
from adaptsr_cli.adapters.lora import LowRankFactors
from adaptsr_cli.adapters.parametrization import Blueprint, Order, Placement, SiteAdapter
from adaptsr_cli.adapters.pissa import PrincipalFactors
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.artifacts import Factorization
from adaptsr_cli.errors import ArtifactError

# Root mean square length of the rows that `reset` draws: in entries, uniform within 1 / sqrt(in).
_ROW_LENGTH: Final = 3**-0.5

Factors = LowRankFactors | KernelFirstFactors | SingleKernelFactors

_KINDS: Final[dict[Factorization, type[Factors]]] = {
    "1x1-kxk": LowRankFactors,
    "kxk-1x1": KernelFirstFactors,
    "single": SingleKernelFactors,
}


def new_factors(order: Order, site: Site, rank: int, strength: float) -> Factors:
    """Factors of the wanted factorisation, drawn anew, that make no update yet.

    Args:
        order: The factorisation and where random numbers come from.
        site: Where the update goes; for a Linear or a 1x1 kernel all factorisations are alike.
        rank: At least 1.
        strength: What the update is multiplied with.
    """
    kind = LowRankFactors if prod(site.shape[2:]) == 1 else _KINDS[order.factorization]
    factors = kind(site, rank, strength)
    factors.reset(order.generator)
    return factors


def make_factors(order: Order, site: Site, rank: int) -> SiteAdapter:
    """Factors of one site at the wanted start.

    With directions the first rows of A are the leading right singular vectors V of the mean gradient U S V^T. As B is
    zero, its first gradient is then in proportion to U S: the first step is the best step of rank r. Rows beyond the
    known directions stay random. All rows are of one length, so that a learning rate means the same for every start.

    Raises:
        ArtifactError: The directions are not this site's.
    """
    strength = order.strength(rank)
    if order.principal:
        kernels_first = order.factorization == "kxk-1x1"
        return PrincipalFactors(site, order.weight(site), rank, strength, kernels_first=kernels_first)
    factors = new_factors(order, site, rank, strength)
    if order.directions is None:
        return factors
    rows = order.directions.get(site.name)
    if rows is None or rows.dim() != 2 or rows.shape[1] != site.shape[1] or not bool(rows.isfinite().all()):
        raise ArtifactError(
            f"the gradient directions of {site.name} are missing or damaged", "run `adaptsr score` again"
        )
    with torch.no_grad():
        factors.lora_A.flatten(1)[: min(rank, len(rows))].copy_(rows[:rank] * _ROW_LENGTH)
    return factors


def place_lora(order: Order) -> Blueprint:
    """Factors of what the planned rank pays for, at every planned site where that is any.

    Raises:
        ArtifactError: It is none anywhere.
    """
    placements = [
        Placement.at(site, make_factors(order, site, rank))
        for site, planned in order.plan
        if (rank := order.buy(site, planned))
    ]
    return Blueprint(refuse_unpaid(order, placements))


def refuse_unpaid(order: Order, placements: Sequence[Placement]) -> tuple[Placement, ...]:
    """The placements, where there are any or none was planned.

    Raises:
        ArtifactError: No planned rank pays for one of the wanted factorisation.
    """
    if order.plan and not placements:
        raise ArtifactError(
            f"no planned rank pays for a rank of --conv-factorization {order.factorization}",
            "allocate a larger --budget, or use another --conv-factorization",
        )
    return tuple(placements)
