"""Stage ``reallocate``: ranks by what a trained adapter has learnt, so that training can go on from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.adapters.truncation import UpdateSpectrum
from adaptsr_cli.artifacts.rank_map import RankMap, SiteRank
from adaptsr_cli.artifacts.warm_start import WarmStartHeader
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.documents import write_document
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.ranking.allocation import AllocationSite, largest_uniform_rank
from adaptsr_cli.ranking.regrowth import extended_gains
from adaptsr_cli.ranking.spectral import allocate_spectral
from adaptsr_cli.report.figures import draw_rank_heatmap
from adaptsr_cli.stages.allocate.options import ReallocateOptions
from adaptsr_cli.stages.common.adapter_file import AdapterSource, open_adapter
from adaptsr_cli.stages.common.adapter_spectra import inner_rank, planned_gains, require_low_rank, spectra_of
from adaptsr_cli.stages.common.models import ModelSpec, open_backbone
from adaptsr_cli.stages.common.run_folder import RunFolder, provenance, refuse_inputs, refuse_overwriting
from adaptsr_cli.stages.common.warm_start import warm_start_path, write_warm_start
from adaptsr_cli.units import Budget, parse_budget


@dataclass(frozen=True)
class ReallocateResult:
    """What became of the ranks.

    Attributes:
        path: ``rank_map.json``.
        heatmap: A picture of it.
        start: The updates from which training continues.
        pruned: Ranks taken away, over all sites.
        grown: Ranks given.
        kept_share: Share of the squared norm of the adapter's updates from which training goes on.
    """

    rank_map: RankMap
    path: Path
    heatmap: Path
    start: Path
    pruned: int
    grown: int
    kept_share: float

    def to_json(self) -> dict[str, Any]:
        """The rank map."""
        return self.rank_map.model_dump(mode="json")


def run_reallocate(
    options: ReallocateOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS
) -> ReallocateResult:
    """Write ``rank_map.json`` with its sidecar and ``rank_map.png`` from a trained adapter.

    The ranks are the best that the budget buys by the squared singular values of the updates and what further ranks
    are guessed to be worth (`extended_gains`). Sites that the adapter left alone get one rank where the budget covers
    one everywhere, else only what is left over. ``train`` then goes on from the updates, truncated where ranks were
    taken away.

    Args:
        options: Which adapter, and how to spend the budget.
        progress: Where to tell.
        world: Not used: this is work for one process.

    Raises:
        ArtifactError: No adapter, one of another method or backbone, or one that changes nothing.
        BudgetError: The budget cannot be spent as asked.
        OutputExistsError: The run has a rank map already.
    """
    run = RunFolder(options.run)
    path = run.rank_map
    refuse_inputs({"rank map": path, "what training continues from": warm_start_path(path)}, [options.adapter])
    refuse_overwriting({"rank map": path}, force=options.force)
    adapter = open_adapter(options.adapter)
    require_low_rank(adapter, "reallocation")
    spec = ModelSpec.of(options.model, options.weights_dir, offline=options.offline, options=options.model_options)
    with run.held():
        backbone = open_backbone(run, spec, progress)
        spectra = spectra_of(backbone, adapter)
        if not any(spectrum.energies for spectrum in spectra.values()):
            raise ArtifactError(
                f"{adapter.path} changes nothing: all its updates are zero", "train it first, or use `adaptsr allocate`"
            )
        sites = find_sites(backbone.model, backbone.traits).sites
        ranks, budget = _choose_ranks(options, adapter, sites, spectra, backbone)
        options_used = {"budget": budget.text, "adapter": adapter.path.name, "adapter_sha256": adapter.sha256}
        made = adapter.header.provenance
        record = provenance("reallocate", options_used, made.seed, made.data_fingerprint)
        header = WarmStartHeader(
            backbone=backbone.identity,
            provenance=record,
            factorization=adapter.header.factorization,
            adapter_sha256=adapter.sha256,
        )
        kind = adapter.header.factorization
        left = {site.name: inner_rank(site, ranks.get(site.name, 0), kind) for site in sites}
        kept = {name: spectrum for name, spectrum in spectra.items() if left[name] and spectrum.energies}
        start_sha256 = write_warm_start(
            warm_start_path(path), header, {name: spectrum.factors(left[name]) for name, spectrum in kept.items()}
        )
        entries = tuple(_entry(site, ranks.get(site.name, 0), spectra.get(site.name)) for site in sites)
        rank_map = RankMap(
            backbone=backbone.identity,
            provenance=record,
            strategy="adapter",
            budget_params=budget.resolve(backbone.identity.params),
            total_params=sum(entry.params for entry in entries),
            min_rank=min(entry.rank for entry in entries),
            max_rank=max(entry.rank for entry in entries),
            start_sha256=start_sha256,
            sites=entries,
        )
        write_document(path, rank_map)
        draw_rank_heatmap(path.with_suffix(".png"), rank_map)
    before = {entry.name: entry.rank for entry in adapter.header.sites}
    changes = [entry.rank - before.get(entry.name, 0) for entry in entries]
    energy = sum(sum(spectrum.energies) for spectrum in spectra.values())
    continued = sum(sum(spectrum.energies[: left[name]]) for name, spectrum in kept.items())
    return ReallocateResult(
        rank_map=rank_map,
        path=path,
        heatmap=path.with_suffix(".png"),
        start=warm_start_path(path),
        pruned=-sum(min(0, change) for change in changes),
        grown=sum(max(0, change) for change in changes),
        kept_share=continued / energy,
    )


def _choose_ranks(
    options: ReallocateOptions,
    adapter: AdapterSource,
    sites: Sequence[Site],
    spectra: Mapping[str, UpdateSpectrum],
    backbone: Backbone,
) -> tuple[dict[str, int], Budget]:
    """The rank of every site that may have one, and the budget."""
    before = {entry.name: entry.rank for entry in adapter.header.sites}
    cost = {site.name: site.rank_cost for site in sites}
    budget = parse_budget(options.budget or str(sum(rank * cost[name] for name, rank in before.items())))
    kind = adapter.header.factorization
    inner = {site.name: inner_rank(site, before.get(site.name, 0), kind) for site in sites}
    gains = extended_gains({name: spectrum.energies for name, spectrum in spectra.items()}, inner)
    candidates = [
        AllocationSite(
            site.name,
            0.0,
            site.rank_cost,
            site.max_rank,
            planned_gains(site, gains.get(site.name, ()), kind, site.max_rank),
        )
        for site in sites
        if options.modules is None or site.kind in options.modules
    ]
    if not candidates:
        kinds = ", ".join(sorted({site.kind for site in sites}))
        raise UsageError("`modules` leaves no site", f"this backbone has {kinds}")
    largest = options.max_rank or max(candidate.max_rank for candidate in candidates)
    budget_params = budget.resolve(backbone.identity.params)
    least = min(1, largest_uniform_rank(candidates, budget_params)) if options.min_rank is None else options.min_rank
    return allocate_spectral(candidates, budget_params, least, largest), budget


def _entry(site: Site, rank: int, spectrum: UpdateSpectrum | None) -> SiteRank:
    """A site of the rank map; its score is the norm of the trained update."""
    return SiteRank(
        name=site.name,
        block=site.block,
        kind=site.kind,
        shape=site.shape,
        score=0.0 if spectrum is None else sum(spectrum.energies) ** 0.5,
        rank=rank,
        params=rank * site.rank_cost,
    )
