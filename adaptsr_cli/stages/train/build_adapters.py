"""The adapters that a training starts with, and what has to be looked at for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from adaptsr_cli.adapters.attach import Attachment, attach
from adaptsr_cli.adapters.shira import choose_by_site, choose_over_sites, draw_importance, read_entries
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.data.prefetch import BatchSource
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.distributed import World
from adaptsr_cli.progress import Progress
from adaptsr_cli.ranking.importance import measure_importance
from adaptsr_cli.stages.common.init_directions import find_init_directions, read_init_directions
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.train.rank_plan import RankPlan
from adaptsr_cli.training.accumulation import split_rows
from adaptsr_cli.units import plural

MASK_BATCHES: Final = 4

PlannedSites = Sequence[tuple[Site, int]]


def build_adapters(
    config: TrainConfig,
    backbone: Backbone,
    plan: RankPlan,
    run: RunFolder,
    batches: BatchSource,
    *,
    saved: Mapping[str, Tensor] | None,
    device: torch.device,
    world: World,
    progress: Progress,
) -> Attachment:
    """Put the adapters on a network that a training is to start with; a saved state is put back later.

    Args:
        config: The method and its options.
        backbone: The network, on its device.
        plan: Sites with their ranks.
        run: The run folder, where the gradient's directions lie.
        batches: This process's share of every training batch.
        saved: The adapter of a state to continue from; None where there is none.
        device: Where to compute.
        world: The processes that train together.
        progress: Told what is measured, and what is left of the plan.

    Raises:
        ArtifactError: The gradient directions are missing, or the method finds nothing to adapt.
        UsageError: The method does not obey one of the options.
    """
    sites = plan.sites
    directions = (
        read_init_directions(find_init_directions(run, plan.path), backbone) if config.init == "gradient" else None
    )
    attachment = attach(
        backbone.model,
        sites,
        alpha=config.alpha,
        seed=config.seed,
        method=config.method,
        lora_scaling=config.lora_scaling,
        factorization=config.conv_factorization,
        principal=config.init == "pissa",
        directions=directions,
        entries=_choose_entries(config, backbone, sites, batches, device, world, progress)
        if saved is None
        else read_entries(saved),
    )
    if config.conv_factorization != "1x1-kxk":
        progress.note(_describe_unspent(config, sites, attachment))
    return attachment


def _choose_entries(
    config: TrainConfig,
    backbone: Backbone,
    sites: PlannedSites,
    batches: BatchSource,
    device: torch.device,
    world: World,
    progress: Progress,
) -> dict[str, Tensor] | None:
    """The entries of a sparse update; None for those of the largest magnitude."""
    if config.shira_mask == "magnitude":
        return None
    planned = [(site, rank) for site, rank in sites if rank]
    if config.shira_mask == "random":
        return choose_by_site(draw_importance(planned, config.seed), planned)
    is_snip = config.shira_mask == "snip"
    by = "SNIP on" if is_snip else "the mean gradient of"
    progress.note(f"choosing the weights to train by {by} the first {MASK_BATCHES} batches")
    importance = measure_importance(
        backbone,
        [site for site, _ in planned],
        _first_batches(batches, config.accumulate),
        times_weight=is_snip,
        device=device,
        precision=config.precision,
        world=world,
    )
    return (choose_by_site if is_snip else choose_over_sites)(importance, planned)


def _first_batches(batches: BatchSource, parts: int) -> Iterator[Batch]:
    """The first batches, in as many parts as training takes them."""
    for iteration in range(MASK_BATCHES):
        batch = batches.sample(iteration)
        for rows in split_rows(len(batch.lr), parts):
            yield Batch(batch.lr[rows], batch.hr[rows])


def _describe_unspent(config: TrainConfig, sites: PlannedSites, attachment: Attachment) -> str:
    """What another factorisation leaves of the budget, since its ranks cost other numbers of parameters."""
    planned = {site.name: rank * site.rank_cost for site, rank in sites if rank}
    without = len(planned.keys() - attachment.adapters.keys())
    left = sum(planned.values()) - attachment.params
    nothing = f"; nothing is trained at {without} of {plural(len(planned), 'site')}, where one rank costs more"
    return (
        f"`conv_factorization` {config.conv_factorization} buys whole ranks of other costs and leaves {left:,} of "
        f"{sum(planned.values()):,} planned parameters" + (nothing if without else "")
    )
