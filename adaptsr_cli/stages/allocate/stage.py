"""Stage ``allocate``: spending a parameter budget on ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from adaptsr_cli.artifacts.base import SiteKind, Strategy
from adaptsr_cli.artifacts.rank_map import RankMap, SiteRank
from adaptsr_cli.artifacts.saliency import Saliency, SiteSaliency
from adaptsr_cli.errors import ArtifactError, UsageError, nearest
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.io.lock import hold_folder
from adaptsr_cli.progress import Progress
from adaptsr_cli.ranking.allocation import (
    DEFAULT_STRATEGY,
    AllocationSite,
    allocate_greedy,
    allocate_proportional,
    allocate_uniform,
    default_max_rank,
    largest_uniform_rank,
)
from adaptsr_cli.ranking.spectral import allocate_spectral
from adaptsr_cli.report.figures import draw_rank_heatmap
from adaptsr_cli.stages.common.run_folder import RunFolder, provenance, refuse_overwriting
from adaptsr_cli.stages.train.warm_start import warm_start_path
from adaptsr_cli.units import Budget, format_params, list_some


@dataclass(frozen=True)
class AllocateOptions:
    """How to spend the budget.

    Attributes:
        saliency: The saliency file; None for the run's.
        strategy: ``spectral`` goes by the gains, ``greedy`` and ``proportional`` by the scores, ``uniform`` by none.
        min_rank: Rank of the least important sites; None for 0 (spectral), else 1 where the budget covers it.
        max_rank: Rank of the most important sites; None for twice the uniform rank of the same budget (greedy), else
            what each site allows.
        modules: Kinds of site that may get ranks (AdaptSR, Table 4); None for all.
    """

    run: RunFolder
    budget: Budget
    saliency: Path | None = None
    strategy: Strategy = DEFAULT_STRATEGY
    min_rank: int | None = None
    max_rank: int | None = None
    modules: tuple[SiteKind, ...] | None = None
    force: bool = False


def parse_modules(text: str) -> tuple[SiteKind, ...]:
    """Reads ``conv,attention,mlp``.

    Raises:
        UsageError: A name that is no kind of site.
    """
    kinds: list[SiteKind] = []
    known: tuple[SiteKind, ...] = get_args(SiteKind)
    for word in (part.strip().lower() for part in text.split(",")):
        match = [kind for kind in known if kind == word]
        if not match:
            raise UsageError(
                f"--modules: {word!r} is no kind of site", nearest(word, known) or f"choose from {', '.join(known)}"
            )
        kinds += match
    return tuple(dict.fromkeys(kinds))


def allocate(config: AllocateOptions, progress: Progress) -> Path:
    """Turns ``saliency.json`` and a budget into ``rank_map.json`` and ``rank_map.png``.

    Returns:
        The path of ``rank_map.json``.

    Raises:
        ArtifactError: No saliency yet.
        BudgetError: The budget cannot be spent as asked.
    """
    refuse_overwriting({"rank map": config.run.rank_map}, force=config.force)
    source = config.saliency or config.run.saliency
    if not source.exists():
        raise ArtifactError(f"there is no {source}", "make it with `adaptsr score --data DIR`")
    with hold_folder(config.run.root):
        saliency = read_document(source, Saliency)
        rank_map = plan_ranks(config, saliency, progress)
        write_document(config.run.rank_map, rank_map)
        # The adapter that an earlier rank map went on from.
        warm_start_path(config.run.rank_map).unlink(missing_ok=True)
        draw_rank_heatmap(config.run.rank_map.with_suffix(".png"), rank_map)
    return config.run.rank_map


def plan_ranks(config: AllocateOptions, saliency: Saliency, progress: Progress) -> RankMap:
    """The rank of every site; sites of other kinds than asked for get rank 0."""
    budget_params = config.budget.resolve(saliency.backbone.params)
    chosen = [site for site in saliency.sites if config.modules is None or site.kind in config.modules]
    if not chosen:
        kinds = ", ".join(sorted({site.kind for site in saliency.sites}))
        raise UsageError("--modules leaves no site", f"this backbone has {kinds}")
    candidates = [
        AllocationSite(site.name, site.score, site.rank_cost, site.max_rank, _gains(site, config.strategy))
        for site in chosen
    ]
    if config.strategy == "uniform":
        ranks = allocate_uniform(candidates, budget_params, config.max_rank)
        min_rank = max_rank = max(ranks.values())
        _tell_capped(candidates, ranks, max_rank, progress)
    else:
        min_rank, max_rank = _bounds(config, candidates, budget_params, progress)
        ranks = _ALLOCATORS[config.strategy](candidates, budget_params, min_rank, max_rank)
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
    if left > min(candidate.rank_cost for candidate in candidates) and config.strategy != "uniform":
        progress.note(
            f"{format_params(left)} of the budget are left: every site has its largest rank; raise --max-rank to "
            f"spend them (now {max_rank})"
        )
    options = {
        "budget": config.budget.text,
        "strategy": config.strategy,
        "modules": ",".join(config.modules) if config.modules else None,
    }
    made = saliency.provenance
    return RankMap(
        backbone=saliency.backbone,
        provenance=provenance("allocate", options, made.seed, made.data_fingerprint),
        strategy=config.strategy,
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
            "the saliency file is of an older version, without the gains of --strategy spectral",
            "make it anew with `adaptsr score --force`, or use --strategy greedy",
        )
    return site.gains


def _bounds(
    config: AllocateOptions, candidates: list[AllocationSite], budget_params: int, progress: Progress
) -> tuple[int, int]:
    """The least and the largest rank, as asked for or by the strategy's custom."""
    if config.min_rank is not None:
        min_rank = config.min_rank
    else:
        min_rank = 0 if config.strategy == "spectral" else _least_rank(candidates, budget_params, progress)
    if config.max_rank is not None:
        return min_rank, config.max_rank
    if config.strategy == "greedy":
        return min_rank, max(default_max_rank(candidates, budget_params), min_rank)
    return min_rank, max(candidate.max_rank for candidate in candidates)


def _least_rank(candidates: list[AllocationSite], budget_params: int, progress: Progress) -> int:
    """1 where the budget covers rank 1 at every site, else 0, and says so."""
    if largest_uniform_rank(candidates, budget_params) >= 1:
        return 1
    progress.note("the budget does not cover rank 1 at every site: the least important ones get rank 0")
    return 0


def _tell_capped(candidates: list[AllocationSite], ranks: dict[str, int], rank: int, progress: Progress) -> None:
    """Says where the uniform rank would have been larger than the weight itself."""
    capped = [candidate for candidate in candidates if ranks[candidate.name] < rank]
    if capped:
        plain = sum(candidate.rank_cost for candidate in candidates) * rank
        names = list_some([f"{candidate.name} ({ranks[candidate.name]})" for candidate in capped])
        progress.note(
            f"uniform rank {rank} (it would cost {plain:,} everywhere); smaller where the adapter would outgrow "
            f"its weight: {names}"
        )
