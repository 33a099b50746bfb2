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
from adaptsr_cli.adapters.factors import LowRankFactors
from adaptsr_cli.adapters.pissa import PrincipalFactors
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import AdapterLayout, AdapterPlacement, AdapterSpec, SiteAdapter
from adaptsr_cli.artifacts.base import Factorization
from adaptsr_cli.errors import ArtifactError

# Root mean square length of the rows that `reset` draws: in entries, uniform within 1 / sqrt(in).
_ROW_LENGTH: Final = 3**-0.5

Factors = LowRankFactors | KernelFirstFactors | SingleKernelFactors

_KINDS: Final[dict[Factorization, type[Factors]]] = {
    "1x1-kxk": LowRankFactors,
    "kxk-1x1": KernelFirstFactors,
    "single": SingleKernelFactors,
}


def new_factors(spec: AdapterSpec, site: Site, rank: int, scaling: float) -> Factors:
    """Factors of the wanted factorisation, drawn anew, that make no update yet.

    Args:
        spec: The factorisation and where random numbers come from.
        site: Where the update goes; for a Linear or a 1x1 kernel all factorisations are alike.
        rank: At least 1.
        scaling: What the update is multiplied with.
    """
    kind = LowRankFactors if prod(site.shape[2:]) == 1 else _KINDS[spec.factorization]
    factors = kind(site, rank, scaling)
    factors.reset(spec.generator)
    return factors


def make_factors(spec: AdapterSpec, site: Site, rank: int) -> SiteAdapter:
    """Factors of one site at the wanted start.

    With directions the first rows of A are the leading right singular vectors V of the mean gradient U S V^T. As B is
    zero, its first gradient is then in proportion to U S: the first step is the best step of rank r. Rows beyond the
    known directions stay random. All rows are of one length, so that a learning rate means the same for every start.

    Raises:
        ArtifactError: The directions are not this site's.
    """
    scaling = spec.scaling(rank)
    if spec.principal:
        kernels_first = spec.factorization == "kxk-1x1"
        return PrincipalFactors(site, spec.weight(site), rank, scaling, kernels_first=kernels_first)
    factors = new_factors(spec, site, rank, scaling)
    if spec.directions is None:
        return factors
    rows = spec.directions.get(site.name)
    if rows is None or rows.dim() != 2 or rows.shape[1] != site.shape[1] or not bool(rows.isfinite().all()):
        raise ArtifactError(
            f"the gradient directions of {site.name} are missing or damaged", "run `adaptsr score` again"
        )
    with torch.no_grad():
        factors.lora_A.flatten(1)[: min(rank, len(rows))].copy_(rows[:rank] * _ROW_LENGTH)
    return factors


def place_lora(spec: AdapterSpec) -> AdapterLayout:
    """Factors of what the planned rank pays for, at every planned site where that is any.

    Raises:
        ArtifactError: It is none anywhere.
    """
    placements = [
        AdapterPlacement.at(site, make_factors(spec, site, rank))
        for site, planned in spec.plan
        if (rank := spec.buy(site, planned))
    ]
    return AdapterLayout(refuse_unpaid(spec, placements))


def refuse_unpaid(spec: AdapterSpec, placements: Sequence[AdapterPlacement]) -> tuple[AdapterPlacement, ...]:
    """The placements, where there are any or none was planned.

    Raises:
        ArtifactError: No planned rank pays for one of the wanted factorisation.
    """
    if spec.plan and not placements:
        raise ArtifactError(
            f"no planned rank pays for a rank of --conv-factorization {spec.factorization}",
            "allocate a larger --budget, or use another --conv-factorization",
        )
    return tuple(placements)
