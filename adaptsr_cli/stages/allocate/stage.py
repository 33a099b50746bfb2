"""Stage ``allocate``: spending a parameter budget on ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adaptsr_cli.artifacts.base import Strategy
from adaptsr_cli.artifacts.rank_map import RankMap, SiteRank
from adaptsr_cli.artifacts.saliency import Saliency, SiteSaliency
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.ranking.allocation import (
    AllocationSite,
    allocate_greedy,
    allocate_proportional,
    allocate_uniform,
    default_max_rank,
    largest_uniform_rank,
)
from adaptsr_cli.ranking.spectral import allocate_spectral
from adaptsr_cli.report.figures import draw_rank_heatmap
from adaptsr_cli.stages.allocate.options import AllocateOptions
from adaptsr_cli.stages.common.run_folder import RunFolder, provenance, refuse_inputs, refuse_overwriting
from adaptsr_cli.stages.common.warm_start import warm_start_path
from adaptsr_cli.units import format_params, list_some, parse_budget


@dataclass(frozen=True)
class AllocateResult:
    """The ranks and where they were written.

    Attributes:
        path: ``rank_map.json``.
        heatmap: A picture of it.
    """

    rank_map: RankMap
    path: Path
    heatmap: Path

    def to_json(self) -> dict[str, Any]:
        """The rank map."""
        return self.rank_map.model_dump(mode="json")


def run_allocate(
    options: AllocateOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS
) -> AllocateResult:
    """Turn ``saliency.json`` and a budget into ``rank_map.json`` and ``rank_map.png``.

    Args:
        options: How to spend the budget.
        progress: Where to tell.
        world: Not used: this is work for one process.

    Raises:
        ArtifactError: No saliency yet.
        BudgetError: The budget cannot be spent as asked.
        OutputExistsError: The run has a rank map already.
    """
    run = RunFolder(options.run)
    source = options.saliency or run.saliency
    refuse_inputs({"rank map": run.rank_map}, [source])
    refuse_overwriting({"rank map": run.rank_map}, force=options.force)
    if not source.exists():
        raise ArtifactError(f"there is no {source}", "make it with `adaptsr score --data DIR`")
    with run.held():
        return allocate_ranks(options, read_document(source, Saliency), progress)


def allocate_ranks(
    options: AllocateOptions, saliency: Saliency, progress: Progress, *, command: str = "allocate"
) -> AllocateResult:
    """`run_allocate` for a saliency that is read already, in a folder that is held already, by another command too."""
    path = RunFolder(options.run).rank_map
    rank_map = plan_ranks(options, saliency, progress)
    rank_map = rank_map.model_copy(update={"provenance": rank_map.provenance.model_copy(update={"command": command})})
    write_document(path, rank_map)
    # The adapter that an earlier rank map continued.
    warm_start_path(path).unlink(missing_ok=True)
    draw_rank_heatmap(path.with_suffix(".png"), rank_map)
    return AllocateResult(rank_map, path, path.with_suffix(".png"))


def plan_ranks(options: AllocateOptions, saliency: Saliency, progress: Progress) -> RankMap:
    """The rank of every site; sites of other kinds than asked for get rank 0."""
    budget_params = parse_budget(options.budget).resolve(saliency.backbone.params)
    chosen = [site for site in saliency.sites if options.modules is None or site.kind in options.modules]
    if not chosen:
        kinds = ", ".join(sorted({site.kind for site in saliency.sites}))
        raise UsageError("`modules` leaves no site", f"this backbone has {kinds}")
    candidates = [
        AllocationSite(site.name, site.score, site.rank_cost, site.max_rank, _gains(site, options.strategy))
        for site in chosen
    ]
    if options.strategy == "uniform":
        ranks = allocate_uniform(candidates, budget_params, options.max_rank)
        min_rank = max_rank = max(ranks.values())
        _tell_capped(candidates, ranks, max_rank, progress)
    else:
        min_rank, max_rank = _bounds(options, candidates, budget_params, progress)
        ranks = _ALLOCATORS[options.strategy](candidates, budget_params, min_rank, max_rank)
    sites = tuple(
        SiteRank(
            name=site.name,
            block=site.block,
            kind=site.kind,
            shape=site.shape,
            score=site.score,
            rank=ranks.get(site.name, 0),
            params=ranks.get(site.name, 0) * site.rank_cost,
        )
        for site in saliency.sites
    )
    total_params = sum(site.params for site in sites)
    left = budget_params - total_params
    if left > min(candidate.rank_cost for candidate in candidates) and options.strategy != "uniform":
        progress.note(
            f"{format_params(left)} of the budget are left: every site has its largest rank; raise `max_rank` to "
            f"spend them (now {max_rank})"
        )
    record = {
        "budget": options.budget,
        "strategy": options.strategy,
        "modules": ",".join(options.modules) if options.modules else None,
    }
    made = saliency.provenance
    return RankMap(
        backbone=saliency.backbone,
        provenance=provenance("allocate", record, made.seed, made.data_fingerprint),
        strategy=options.strategy,
        budget_params=budget_params,
        total_params=total_params,
        min_rank=min_rank,
        max_rank=max_rank,
        sites=sites,
    )


_ALLOCATORS: Final[dict[Strategy, Callable[[Sequence[AllocationSite], int, int, int], dict[str, int]]]] = {
    "greedy": allocate_greedy,
    "proportional": allocate_proportional,
    "spectral": allocate_spectral,
}


def _gains(site: SiteSaliency, strategy: Strategy) -> tuple[float, ...]:
    """What each rank of a site buys; needed by one strategy only."""
    if strategy != "spectral":
        return ()
    if site.gains is None:
        raise ArtifactError(
            "the saliency file is of an older version, without the gains of `strategy` spectral",
            "make it again with `adaptsr score --force`, or use `strategy` greedy",
        )
    return site.gains


def _bounds(
    options: AllocateOptions, candidates: list[AllocationSite], budget_params: int, progress: Progress
) -> tuple[int, int]:
    """The least and the largest rank, as asked for or by the strategy's custom."""
    if options.min_rank is not None:
        min_rank = options.min_rank
    else:
        min_rank = 0 if options.strategy == "spectral" else _least_rank(candidates, budget_params, progress)
    if options.max_rank is not None:
        return min_rank, options.max_rank
    if options.strategy == "greedy":
        return min_rank, max(default_max_rank(candidates, budget_params), min_rank)
    return min_rank, max(candidate.max_rank for candidate in candidates)


def _least_rank(candidates: list[AllocationSite], budget_params: int, progress: Progress) -> int:
    """1 where the budget covers rank 1 at every site, else 0, and says so."""
    if largest_uniform_rank(candidates, budget_params) >= 1:
        return 1
    progress.note("the budget does not cover rank 1 at every site: the least important ones get rank 0")
    return 0


def _tell_capped(candidates: list[AllocationSite], ranks: dict[str, int], rank: int, progress: Progress) -> None:
    """Say where the uniform rank would have been larger than the weight itself."""
    capped = [candidate for candidate in candidates if ranks[candidate.name] < rank]
    if capped:
        plain = sum(candidate.rank_cost for candidate in candidates) * rank
        names = list_some([f"{candidate.name} ({ranks[candidate.name]})" for candidate in capped])
        progress.note(
            f"uniform rank {rank} (it would cost {plain:,} everywhere); smaller where the adapter would outgrow "
            f"its weight: {names}"
        )
