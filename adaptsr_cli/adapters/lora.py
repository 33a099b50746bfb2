"""LoRA (Hu et al. 2021; AdaptSR, Eq. 1): low-rank updates W' = W0 + s B A at every planned site.

Trainable parameters: the sum over the planned sites of rank x rank cost, which is what the rank map says. By another
factorisation with cost c of a rank: floor(rank x rank cost / c) ranks at each site, for c each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from adaptsr_cli.adapters.factors import new_factors
from adaptsr_cli.adapters.pissa import PrincipalFactors
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import AdapterLayout, AdapterPlacement, AdapterSpec, MethodSpec, SiteAdapter
from adaptsr_cli.errors import ArtifactError

# Root mean square length of the rows of A that `LowRankFactors.reset` draws: in entries, uniform within 1 / sqrt(in).
_ROW_LENGTH: Final = 3**-0.5


def make_factors(spec: AdapterSpec, site: Site, rank: int) -> SiteAdapter:
    """Make the factors of one site with the wanted initial values.

    With directions the first rows of A are the leading right singular vectors V of the mean gradient U S V^T. As B is
    zero, its first gradient is then in proportion to U S: the first step is the best step of rank r. Rows beyond the
    known directions stay random. They get the length of random rows, so that a learning rate means the same for every
    initialisation.

    Raises:
        ArtifactError: The directions of this site are missing, of another width or not finite.
    """
    scaling = spec.scaling(rank)
    if spec.principal:
        kernels_first = spec.factorization == "kxk-1x1"
        return PrincipalFactors(site, spec.weight(site), rank, scaling, kernels_first=kernels_first)
    factors = new_factors(site, rank, scaling, spec.factorization, spec.generator)
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
    """Place factors of the ranks that the planned rank pays for, at every site where that is at least one.

    Raises:
        ArtifactError: It is none at any site.
    """
    placements = [
        AdapterPlacement.at(site, make_factors(spec, site, rank))
        for site, planned in spec.plan
        if (rank := spec.buy(site, planned))
    ]
    return AdapterLayout(require_paid(spec, placements))


def require_paid(spec: AdapterSpec, placements: Sequence[AdapterPlacement]) -> tuple[AdapterPlacement, ...]:
    """Return the placements if there are any, or if none was planned.

    Raises:
        ArtifactError: No planned rank pays for one of the wanted factorisation.
    """
    if spec.plan and not placements:
        raise ArtifactError(
            f"no planned rank pays for one rank of `conv_factorization` {spec.factorization}",
            "allocate a larger `budget`, or use another `conv_factorization`",
        )
    return tuple(placements)


METHOD: Final = MethodSpec(
    name="lora",
    place=place_lora,
    summary="low-rank updates of the weights",
    inits=("default", "gradient", "pissa", "adapter"),
    factorizations=("1x1-kxk", "kxk-1x1", "single"),
    is_low_rank=True,
    is_truncatable=True,
)
