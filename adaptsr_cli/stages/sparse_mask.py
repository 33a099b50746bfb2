"""Which single weights a sparse update trains: what ``train --shira-mask`` means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import Tensor

from adaptsr_cli.adapters.shira import draw_importance
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.data.prefetch import BatchSource
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.distributed import World
from adaptsr_cli.progress import Progress
from adaptsr_cli.ranking.importance import measure_snip
from adaptsr_cli.training.accumulation import split_rows
from adaptsr_cli.training.config import TrainConfig

SNIP_BATCHES: Final = 4


def choose_importance(
    config: TrainConfig,
    backbone: Backbone,
    plan: Sequence[tuple[Site, int]],
    batches: BatchSource,
    *,
    resuming: bool,
    device: torch.device,
    world: World,
    progress: Progress,
) -> dict[str, Tensor] | None:
    """What the entries of a sparse update are chosen by; None for the magnitude of the weights.

    Args:
        config: The mask, the precision and into how many parts a batch is split.
        backbone: The network on its device, without adapters.
        plan: Sites with their ranks.
        batches: This process's share of every training batch; the first ones are looked at.
        resuming: The mask lies in the saved state: nothing is measured again.
        device: Where to compute.
        world: The processes that train together.
        progress: Told what is measured.
    """
    if config.shira_mask == "random":
        return draw_importance(plan, config.seed)
    if config.shira_mask != "snip" or resuming:
        return None
    progress.note(f"choosing the weights to train by SNIP on the first {SNIP_BATCHES} batches")
    return measure_snip(
        backbone,
        [site for site, rank in plan if rank],
        _first_batches(batches, config.accumulate),
        device=device,
        precision=config.precision,
        world=world,
    )


def _first_batches(batches: BatchSource, parts: int) -> Iterator[Batch]:
    """The first batches, in as many parts as training takes them."""
    for iteration in range(SNIP_BATCHES):
        batch = batches.sample(iteration)
        for rows in split_rows(len(batch.lr), parts):
            yield Batch(batch.lr[rows], batch.hr[rows])
