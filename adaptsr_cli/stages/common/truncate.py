"""Cutting a trained adapter down: to a rank, or to what a budget buys by the singular values of its updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from adaptsr_cli.adapters.attach import Attachment, attach, detach
from adaptsr_cli.adapters.factors import KernelFirstFactors, LowRankFactors
from adaptsr_cli.adapters.methods import METHODS, list_methods
from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.adapters.truncation import MatrixFactors, UpdateSpectrum, decompose, put_factors
from adaptsr_cli.artifacts.adapter import AdapterHeader
from adaptsr_cli.artifacts.base import Factorization
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.ranking.allocation import AllocationSite, largest_uniform_rank
from adaptsr_cli.ranking.regrowth import gains_in_proportion
from adaptsr_cli.ranking.spectral import allocate_spectral
from adaptsr_cli.stages.common.adapter_file import AdapterSource, put_adapter
from adaptsr_cli.stages.common.run_folder import provenance
from adaptsr_cli.units import Budget


@dataclass(frozen=True)
class Limit:
    """How small an adapter shall become; one of the two.

    Attributes:
        to_rank: Largest rank of a site.
        budget: What all sites together may cost.
    """

    to_rank: int | None = None
    budget: Budget | None = None

    def __post_init__(self) -> None:
        if self.to_rank is not None and self.budget is not None:
            raise UsageError("--to-rank and --budget both say how small the adapter shall be", "give one of them")


@dataclass(frozen=True)
class SiteCut:
    """What truncation did at one site.

    Attributes:
        rank: What is left of the planned rank, `rank_before`.
        energy: Squared norm of the trained update.
        kept: That of what is left, at most as much.
    """

    name: str
    rank_before: int
    rank: int
    energy: float
    kept: float


@dataclass(frozen=True)
class Truncation:
    """A smaller adapter, and what it cost.

    Attributes:
        params: Trainable parameters that it has.
    """

    adapter: AdapterSource
    cuts: tuple[SiteCut, ...]
    params: int

    @property
    def kept_share(self) -> float:
        """Share of the squared norm of all updates that is left."""
        energy = sum(cut.energy for cut in self.cuts)
        return sum(cut.kept for cut in self.cuts) / energy if energy else 1.0


def require_low_rank(adapter: AdapterSource, what: str) -> None:
    """Refuses adapters whose updates have no ranks to choose from.

    Args:
        adapter: The adapter.
        what: What was wanted of it, for the message.

    Raises:
        ArtifactError: It is of another method or factorisation.
    """
    if not METHODS[adapter.header.method].is_truncatable:
        able = list_methods(spec for spec in METHODS.values() if spec.is_truncatable)
        raise ArtifactError(
            f"{what} needs the singular values of low-rank updates, and {adapter.path} is of method "
            f"{adapter.header.method}",
            f"name an adapter of method {able}",
        )
    if adapter.header.factorization == "single" or adapter.header.init == "pissa":
        option = "init pissa" if adapter.header.init == "pissa" else "factorization single"
        raise ArtifactError(
            f"{what} needs the singular values of low-rank updates, and those of {adapter.path} ({option}) have "
            "other ranks than were planned",
            "name an adapter that was trained without that option",
        )


def inner_rank(site: Site, planned: int, factorization: Factorization) -> int:
    """How many ranks of the adapter's factorisation a planned rank pays for at a site."""
    return planned * site.rank_cost // site.factor_cost(factorization)


def spectra_of(backbone: Backbone, adapter: AdapterSource) -> dict[str, UpdateSpectrum]:
    """The singular values and vectors of all updates of a low-rank adapter, by site name.

    Raises:
        ArtifactError: The adapter was made for other weights, or its tensors are not what its header says.
    """
    attachment = put_adapter(backbone, adapter.header, adapter.tensors, adapter.path)
    spectra = {}
    for site in adapter.header.sites:
        factors = matrix_factors(attachment, site.name)
        if factors is None:  # the planned rank paid for none of this factorisation
            spectra[site.name] = decompose(torch.zeros(site.shape))
        else:
            spectra[site.name] = decompose(factors.delta(), kernels_first=isinstance(factors, KernelFirstFactors))
    detach(attachment)
    return spectra


def truncate(backbone: Backbone, adapter: AdapterSource, limit: Limit) -> Truncation:
    """The nearest adapter within a limit.

    With a rank as limit every update becomes its best approximation of that rank. With a budget the ranks kept are
    those with the largest sum of squared singular values that it buys, exactly, one rank at every site being kept where
    it buys that. Sites that keep all their ranks keep their tensors as they are. Ranks are those of the plan, of which
    another factorisation makes what they pay for.

    Args:
        backbone: The network that the adapter was made for; left as it was.
        adapter: A low-rank adapter.
        limit: How small it shall become.

    Raises:
        ArtifactError: Another method, other weights, or an adapter that changes nothing.
        BudgetError: The budget buys no rank.
    """
    require_low_rank(adapter, "truncation")
    header = adapter.header
    spectra = spectra_of(backbone, adapter)
    if not any(spectrum.energies for spectrum in spectra.values()):
        raise ArtifactError(f"{adapter.path} changes nothing: all its updates are zero", "there is nothing to truncate")
    sites = find_sites(backbone.model, backbone.traits).select(spectra, str(adapter.path))
    before = {entry.name: entry.rank for entry in header.sites}
    ranks = _choose_ranks(sites, adapter, spectra, limit, backbone.identity.params)
    plan = [(site, ranks[site.name]) for site in sites if ranks[site.name]]
    cuts = tuple(
        SiteCut(site.name, before[site.name], ranks[site.name], sum(energies), sum(energies[:left]))
        for site in sites
        for energies in [spectra[site.name].energies]
        for left in [inner_rank(site, ranks[site.name], header.factorization)]
    )
    attachment = attach(
        backbone.model,
        plan,
        alpha=header.sites[0].alpha,
        method=header.method,
        lora_scaling=header.lora_scaling,
        factorization=header.factorization,
    )
    for site, _ in plan:
        if (factors := matrix_factors(attachment, site.name)) is not None:
            put_factors(factors, *spectra[site.name].factors(factors.rank))
    tensors, params = attachment.state(), attachment.params
    detach(attachment)
    whole = {site.name for site, rank in plan if rank == before[site.name]}
    tensors |= {name: tensor for name, tensor in adapter.tensors.items() if name.rpartition(".")[0] in whole}
    return Truncation(
        replace(adapter, header=_shortened(adapter, ranks, limit), tensors=tensors),
        cuts,
        params,
    )


def _choose_ranks(
    sites: list[Site], adapter: AdapterSource, spectra: Mapping[str, UpdateSpectrum], limit: Limit, params: int
) -> dict[str, int]:
    before = {entry.name: entry.rank for entry in adapter.header.sites}
    if limit.to_rank is not None:
        return {name: min(rank, limit.to_rank) for name, rank in before.items()}
    assert limit.budget is not None
    budget_params = limit.budget.resolve(params)
    if budget_params >= sum(before[site.name] * site.rank_cost for site in sites):
        return before
    candidates = [
        AllocationSite(
            site.name,
            0.0,
            site.rank_cost,
            before[site.name],
            planned_gains(site, spectra[site.name].energies, adapter.header.factorization, before[site.name]),
        )
        for site in sites
    ]
    # Singular values do not tell what the loss makes of an update: on real pairs an adapter without its weakest sites
    # lost twice as much as one of the same size with one rank left at each.
    min_rank = min(1, largest_uniform_rank(candidates, budget_params))
    return allocate_spectral(candidates, budget_params, min_rank, max(before.values()))


def planned_gains(site: Site, gains: Sequence[float], factorization: Factorization, count: int) -> tuple[float, ...]:
    """What planned ranks are worth where `gains` are those of the ranks that they pay for."""
    own, planned = site.factor_cost(factorization), site.rank_cost
    return tuple(gains) if own == planned else gains_in_proportion(gains, planned / own, count)


def matrix_factors(attachment: Attachment, name: str) -> MatrixFactors | None:
    """The factors of a site; None where the planned rank paid for none."""
    adapter = attachment.adapters.get(name)
    assert adapter is None or isinstance(adapter, LowRankFactors | KernelFirstFactors)
    return adapter


def _shortened(adapter: AdapterSource, ranks: Mapping[str, int], limit: Limit) -> AdapterHeader:
    """The header of the smaller adapter; the score of the larger one is not its own."""
    made = adapter.header.provenance
    options = {
        "to_rank": limit.to_rank,
        "budget": None if limit.budget is None else limit.budget.text,
        "adapter": adapter.path.name,
        "adapter_sha256": adapter.sha256,
    }
    return adapter.header.model_copy(
        update={
            "provenance": provenance("merge", options, made.seed, made.data_fingerprint),
            "sites": tuple(
                entry.model_copy(update={"rank": ranks[entry.name]})
                for entry in adapter.header.sites
                if ranks[entry.name]
            ),
            "init": "default",
            "val_psnr_y_db": None,
        }
    )
