"""Stage ``truncate``: a trained adapter cut down to a rank, or to what a budget pays for by singular values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from adaptsr_cli.adapters.attach import attach, detach
from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.adapters.truncation import UpdateSpectrum, put_factors
from adaptsr_cli.artifacts.adapter import AdapterHeader
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.ranking.allocation import AllocationSite, largest_uniform_rank
from adaptsr_cli.ranking.spectral import allocate_spectral
from adaptsr_cli.stages.common.adapter_file import AdapterSource, open_adapter, write_adapter
from adaptsr_cli.stages.common.adapter_spectra import (
    inner_rank,
    matrix_factors,
    planned_gains,
    require_low_rank,
    spectra_of,
)
from adaptsr_cli.stages.common.models import ModelSpec, open_backbone
from adaptsr_cli.stages.common.places import require_suffix
from adaptsr_cli.stages.common.run_folder import RunFolder, provenance, refuse_inputs, refuse_overwriting
from adaptsr_cli.stages.truncate.options import TruncateOptions
from adaptsr_cli.units import Budget, parse_budget


@dataclass(frozen=True)
class Limit:
    """The size that an adapter is cut down to; one of the two.

    Attributes:
        to_rank: Largest rank of a site.
        budget: What all sites together may cost.
    """

    to_rank: int | None = None
    budget: Budget | None = None


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
    """A smaller adapter.

    Attributes:
        header: What its file says.
        tensors: By name, as its file holds them.
        cuts: What truncation did at each site of the larger adapter.
        params: Trainable parameters that it has.
    """

    header: AdapterHeader
    tensors: Mapping[str, Tensor]
    cuts: tuple[SiteCut, ...]
    params: int


@dataclass(frozen=True)
class TruncateResult:
    """The smaller adapter, and what it has lost.

    Attributes:
        output: Its file.
        header: What the file says.
        cuts: What truncation did at each site of the larger adapter.
        params: Trainable parameters that it has.
    """

    output: Path
    header: AdapterHeader
    cuts: tuple[SiteCut, ...]
    params: int

    @property
    def kept_share(self) -> float:
        """Share of the squared norm of all updates that is left."""
        energy = sum(cut.energy for cut in self.cuts)
        return sum(cut.kept for cut in self.cuts) / energy if energy else 1.0

    def to_json(self) -> dict[str, Any]:
        """The result as ``--json`` prints it."""
        return {
            "output": str(self.output),
            "params": self.params,
            "kept_share": self.kept_share,
            "sites": [asdict(cut) for cut in self.cuts],
        }


def run_truncate(
    options: TruncateOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS
) -> TruncateResult:
    """Write a smaller adapter file, made of a trained low-rank adapter.

    Args:
        options: Which adapter, and how small it shall become.
        progress: Where to tell.
        world: Not used: truncating is work for one process.

    Raises:
        ArtifactError: No adapter, one of another method or of other weights, or one that changes nothing.
        BudgetError: The budget pays for no rank.
        OutputExistsError: The file exists and `force` is not set.
    """
    run = RunFolder(options.run)
    output = options.output or run.root / "adapter-truncated.safetensors"
    require_suffix(output, ".safetensors")
    source = options.adapter or run.adapter
    refuse_inputs({"truncated adapter": output}, [source])
    refuse_overwriting({"truncated adapter": output}, force=options.force, elsewhere="another `output`")
    adapter = open_adapter(source)
    choice = ModelSpec.of(options.model, options.weights_dir, offline=options.offline, options=options.model_options)
    backbone = open_backbone(run, choice, progress, record=False)
    refuse_inputs({"truncated adapter": output}, [backbone.checkpoint.path])
    limit = Limit(options.to_rank, parse_budget(options.budget) if options.budget else None)
    truncation = truncate_adapter(backbone, adapter, limit)
    if all(cut.rank == cut.rank_before for cut in truncation.cuts):
        progress.note("the adapter is within that limit already: nothing is cut off")
    write_adapter(output, truncation.header, dict(truncation.tensors))
    return TruncateResult(output, truncation.header, truncation.cuts, truncation.params)


def truncate_adapter(backbone: Backbone, adapter: AdapterSource, limit: Limit) -> Truncation:
    """Compute the nearest adapter within a limit.

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
        BudgetError: The budget pays for no rank.
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
    return Truncation(_truncated_header(adapter, ranks, limit), tensors, cuts, params)


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


def _truncated_header(adapter: AdapterSource, ranks: Mapping[str, int], limit: Limit) -> AdapterHeader:
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
            "provenance": provenance("truncate", options, made.seed, made.data_fingerprint),
            "sites": tuple(
                entry.model_copy(update={"rank": ranks[entry.name]})
                for entry in adapter.header.sites
                if ranks[entry.name]
            ),
            "init": "default",
            "val_psnr_y_db": None,
        }
    )
