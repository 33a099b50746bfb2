"""The rank plan of a training: which sites get adapters, and of which ranks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.saliency import Saliency
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.distributed import World
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.allocate.options import DEFAULT_BUDGET, AllocateOptions
from adaptsr_cli.stages.allocate.stage import allocate_ranks
from adaptsr_cli.stages.common.data_options import pick
from adaptsr_cli.stages.common.models import require_same_backbone
from adaptsr_cli.stages.common.open_run import OpenRun
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.score.stage import score_backbone
from adaptsr_cli.stages.train.options import TrainOptions

USUAL_COMMANDS: Final = ("train", "adapt")
"""What a rank map is made by whose scores were made by the same command."""


@dataclass(frozen=True)
class RankPlan:
    """A rank map with the sites of the network that it names.

    Attributes:
        path: The file of the rank map.
        sites: Every site with its rank, which may be 0.
    """

    path: Path
    rank_map: RankMap
    sites: list[tuple[Site, int]]

    @property
    def ranks(self) -> dict[str, int]:
        """Rank by site name."""
        return {site.name: rank for site, rank in self.sites}

    @property
    def is_usual(self) -> bool:
        """Whether `train` or `adapt` scored and allocated by itself, as it would in a new run folder."""
        made = self.rank_map.provenance
        return made.command in USUAL_COMMANDS and made.options.get("budget") == DEFAULT_BUDGET


def open_rank_plan(options: TrainOptions, opened: OpenRun, progress: Progress, world: World) -> RankPlan:
    """The named or the run's rank map; where there is none it is made, and the user is told.

    Raises:
        ArtifactError: The file is missing, of another network, or gives rank 0 to every site.
    """
    path = options.rank_map or opened.run.rank_map
    # Asked by one process, so that all do the same.
    exists, is_scored = world.gather((path.exists(), opened.run.saliency.exists()))[0]
    if options.rank_map is None and not exists:
        _make_rank_map(options, opened, progress, world, is_scored=is_scored)
    if not path.exists():
        raise ArtifactError(
            f"there is no rank map {path}",
            "was a run folder moved? Check the path, or leave `rank_map` out for the run's own",
        )
    rank_map = read_document(path, RankMap)
    require_same_backbone(rank_map.backbone, path, opened.backbone.identity)
    if options.rank_map is None and rank_map.strategy != "adapter" and opened.run.saliency.exists():
        _warn_of_newer_scores(rank_map, path, opened.run.saliency, progress)
    return RankPlan(path, rank_map, _find_planned_sites(opened.backbone, rank_map, path))


def _make_rank_map(
    options: TrainOptions, opened: OpenRun, progress: Progress, world: World, *, is_scored: bool
) -> None:
    """Score where that is not done yet, and allocate the default budget."""
    run = opened.run
    if not is_scored:
        progress.note("no saliency in the run folder: scoring first")
        # Batch and patch of training are not those of scoring.
        scoring = pick(ScoreOptions, options.model_copy(update={"patch": None}), batch=8, force=False)
        score_backbone(scoring, opened, progress, world)
    progress.note(f"no rank map in the run folder: allocating {DEFAULT_BUDGET} of the backbone")
    with world.rank_zero_first():
        if world.is_main_process:
            allocation = AllocateOptions(run=run.root, strategy=options.strategy)
            command = "allocate" if is_scored else "train"
            allocate_ranks(allocation, read_document(run.saliency, Saliency), progress, command=command)


def _warn_of_newer_scores(rank_map: RankMap, path: Path, saliency: Path, progress: Progress) -> None:
    """Warn where the run was scored anew since its ranks were allocated; its scores are not needed any more."""
    try:
        scores = read_document(saliency, Saliency)
    except ArtifactError as error:
        progress.warn(error.message)
        return
    if not rank_map.is_by(scores):
        progress.warn(f"{path} was not made by the scores of {saliency}: `adaptsr allocate --force` goes by them")


def _find_planned_sites(backbone: Backbone, rank_map: RankMap, path: Path) -> list[tuple[Site, int]]:
    """The sites with their ranks, by exact name."""
    table = find_sites(backbone.model, backbone.traits)
    names = [entry.name for entry in rank_map.sites]
    sites = table.select(names, str(path))
    plan = [(site, entry.rank) for site, entry in zip(sites, rank_map.sites, strict=True)]
    if not any(rank for _, rank in plan):
        raise ArtifactError(f"{path} gives rank 0 to every site", "there is nothing to train; allocate a budget")
    return plan
