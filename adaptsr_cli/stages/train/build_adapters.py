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
from adaptsr_cli.ranking.importance import measure_movement, measure_snip
from adaptsr_cli.stages.common.init_directions import find_init_directions, read_init_directions
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.train.rank_plan import RankPlan
from adaptsr_cli.training.accumulation import split_rows
from adaptsr_cli.units import plural

SNIP_BATCHES: Final = 4
PROBE_STEPS: Final = 20

_DECIDE_NO_MASK: Final = (
    "learning_rate", "optimizer", "schedule", "ema", "iterations", "minutes", "patience", "val_freq", "save_freq",
)  # fmt: skip

PlannedSites = Sequence[tuple[Site, int]]


def build_adapters(
    config: TrainConfig,
    backbone: Backbone,
    plan: RankPlan,
    run: RunFolder,
    batches: BatchSource,
    *,
    saved: Mapping[str, Tensor] | None,
    masks: dict[str, dict[str, Tensor]],
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
        masks: Masks of sparse updates that were measured, so that the trials of a search share one; this one is added.
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
        entries=_choose_entries(config, backbone, sites, batches, masks, device, world, progress)
        if saved is None
        else read_entries(saved),
    )
    if config.conv_factorization != "1x1-kxk" and config.init != "adapter":  # whose ranks are those of its updates
        progress.note(_describe_unspent(config, sites, attachment))
    return attachment


def _choose_entries(
    config: TrainConfig,
    backbone: Backbone,
    sites: PlannedSites,
    batches: BatchSource,
    masks: dict[str, dict[str, Tensor]],
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
    same = config.model_dump_json(exclude=set(_DECIDE_NO_MASK))
    if same in masks:
        return masks[same]
    is_snip = config.shira_mask == "snip"
    if is_snip:
        progress.note(f"choosing the weights to train by SNIP on the first {SNIP_BATCHES} batches")
    else:
        progress.note(f"choosing the weights to train by how far {PROBE_STEPS} steps of full fine-tuning move them")
    importance = (measure_snip if is_snip else measure_movement)(
        backbone,
        [site for site, _ in planned],
        _first_batches(batches, SNIP_BATCHES if is_snip else PROBE_STEPS, config.accumulate),
        device=device,
        precision=config.precision,
        world=world,
    )
    masks[same] = (choose_by_site if is_snip else choose_over_sites)(importance, planned)
    return masks[same]


def _first_batches(batches: BatchSource, count: int, parts: int) -> Iterator[list[Batch]]:
    """The first batches, each in as many parts as training takes it."""
    for iteration in range(count):
        batch = batches.sample(iteration)
        yield [Batch(batch.lr[rows], batch.hr[rows]) for rows in split_rows(len(batch.lr), parts)]


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
