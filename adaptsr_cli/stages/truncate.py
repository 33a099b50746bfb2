"""Cutting a trained adapter down: to a rank, or to what a budget buys by the singular values of its updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from adaptsr_cli.adapters.attach import Attachment, attach, detach
from adaptsr_cli.adapters.lora import LowRankFactors
from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.adapters.truncation import UpdateSpectrum, decompose, put_factors
from adaptsr_cli.artifacts import AdapterHeader
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.ranking.allocation import Candidate
from adaptsr_cli.ranking.spectral import allocate_spectral
from adaptsr_cli.stages.adapter_file import AdapterSource, put_adapter
from adaptsr_cli.stages.run_folder import provenance
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
    if adapter.header.method != "lora":
        raise ArtifactError(
            f"{what} goes by the singular values of low-rank updates, and {adapter.path} is of --method "
            f"{adapter.header.method}",
            "name an adapter of --method lora",
        )


def spectra_of(backbone: Backbone, adapter: AdapterSource) -> dict[str, UpdateSpectrum]:
    """The singular values and vectors of all updates of a low-rank adapter, by site name.

    Raises:
        ArtifactError: The adapter was made for other weights, or its tensors are not what its header says.
    """
    attachment = put_adapter(backbone, adapter.header, adapter.tensors, adapter.path)
    spectra = {site.name: decompose(_factors(attachment, site.name).delta()) for site in adapter.header.sites}
    detach(attachment)
    return spectra


def truncate(backbone: Backbone, adapter: AdapterSource, limit: Limit) -> Truncation:
    """The nearest adapter within a limit.

    With a rank as limit every update becomes its best approximation of that rank. With a budget the ranks kept are
    those with the largest sum of squared singular values that it buys, exactly. Sites that keep all their ranks keep
    their tensors as they are.

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
    ranks = _choose_ranks(sites, before, spectra, limit, backbone.identity.params)
    plan = [(site, ranks[site.name]) for site in sites if ranks[site.name]]
    cuts = tuple(
        SiteCut(
            site.name, before[site.name], ranks[site.name],
            sum(spectra[site.name].energies), sum(spectra[site.name].energies[: ranks[site.name]]),
        )
        for site in sites
    )  # fmt: skip
    attachment = attach(backbone.model, plan, alpha=header.sites[0].alpha, method=header.method, scale=header.scale)
    for site, rank in plan:
        put_factors(_factors(attachment, site.name), *spectra[site.name].factors(rank))
    tensors = attachment.state()
    detach(attachment)
    whole = {site.name for site, rank in plan if rank == before[site.name]}
    tensors |= {name: tensor for name, tensor in adapter.tensors.items() if name.rpartition(".")[0] in whole}
    return Truncation(
        replace(adapter, header=_shortened(adapter, ranks, limit), tensors=tensors),
        cuts,
        sum(rank * site.rank_cost for site, rank in plan),
    )


def _choose_ranks(
    sites: list[Site], before: Mapping[str, int], spectra: Mapping[str, UpdateSpectrum], limit: Limit, params: int
) -> dict[str, int]:
    if limit.to_rank is not None:
        return {name: min(rank, limit.to_rank) for name, rank in before.items()}
    assert limit.budget is not None
    budget_params = limit.budget.resolve(params)
    if budget_params >= sum(before[site.name] * site.rank_cost for site in sites):
        return dict(before)
    candidates = [
        Candidate(site.name, 0.0, site.rank_cost, before[site.name], spectra[site.name].energies) for site in sites
    ]
    return allocate_spectral(candidates, budget_params, 0, max(before.values()))


def _factors(attachment: Attachment, name: str) -> LowRankFactors:
    adapter = attachment.adapters[name]
    assert isinstance(adapter, LowRankFactors)
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
            "val_psnr_y_db": None,
        }
    )
