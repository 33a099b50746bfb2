"""How much the loss wants each site changed: the gradient criterion of AdaptSR, Algorithm 1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.backbones.backbone import Backbone, set_differentiable, super_resolve
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.distributed import ALONE, World
from adaptsr_cli.errors import TrainingError
from adaptsr_cli.progress import Task
from adaptsr_cli.ranking.spectrum import leading_singular_values
from adaptsr_cli.runtime import Precision, autocast


@dataclass(frozen=True)
class SiteMeasure:
    """The measurement of one site.

    Attributes:
        score: Mean over batches of s = ||grad_W L||_2 (AdaptSR, Eq. 7).
        score_std: Standard deviation over batches.
        spectrum: Leading singular values of the gradient averaged over batches, descending.
        reached: Whether any gradient arrived; a site that takes no part in the forward pass has none.
    """

    score: float
    score_std: float
    spectrum: tuple[float, ...]
    reached: bool


@dataclass(frozen=True)
class Measurement:
    """The measurement of all sites, in their order.

    Attributes:
        mean_loss: L1 loss of the backbone on the batches, in [0, 1].
        mean_spearman: See `mean_rank_correlation`.
    """

    sites: tuple[SiteMeasure, ...]
    mean_loss: float
    mean_spearman: float | None


def measure_gradients(
    backbone: Backbone,
    sites: Sequence[Site],
    batches: Iterable[Batch],
    *,
    device: torch.device,
    precision: Precision,
    task: Task,
    world: World = ALONE,
) -> Measurement:
    """Measures s = ||grad_W L||_2 of the L1 loss for every site over all batches.

    Args:
        backbone: The network, already on `device`. Its weights are not changed.
        sites: What to measure.
        batches: This process's batches of pairs: every `world.size`-th, from `world.rank` on.
        device: Where to compute.
        precision: Precision of the forward pass.
        task: Advanced by one a batch.
        world: The processes that share the batches; the measurement is that of all batches in all of them.

    Raises:
        TrainingError: The loss is not finite.
    """
    weights = {site.module: backbone.model.get_parameter(f"{site.module}.weight") for site in sites}
    backbone.model.requires_grad_(False)
    for weight in weights.values():
        weight.requires_grad_(True)
    set_differentiable(backbone, True)
    sums: list[Tensor | None] = [None] * len(sites)
    norms: list[Tensor] = []
    losses: list[float] = []
    try:
        for batch in batches:
            backbone.model.zero_grad(set_to_none=True)
            with autocast(device, precision):
                sr = super_resolve(backbone, batch.lr.to(device))
            loss = nn.functional.l1_loss(sr.float(), batch.hr.to(device))
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                raise TrainingError("the backbone's loss is not finite on this data", "try --precision fp32")
            torch.autograd.backward(loss)
            of_batch = []
            for index, site in enumerate(sites):
                gradient = weights[site.module].grad
                if gradient is None:
                    of_batch.append(torch.zeros((), device=device))
                    continue
                part = gradient if site.rows is None else gradient[site.rows[0] : site.rows[1]]
                of_batch.append(part.norm())
                total = sums[index]
                sums[index] = part.clone() if total is None else total.add_(part)
            norms.append(torch.stack(of_batch))
            task.advance()
    finally:
        backbone.model.zero_grad(set_to_none=True)
        backbone.model.requires_grad_(False)
        set_differentiable(backbone, False)
    rows = [(loss, row.double().cpu().numpy()) for loss, row in zip(losses, norms, strict=True)]
    all_rows = world.gather_shares(rows)
    table = np.stack([row for _, row in all_rows])  # (batches, sites)
    totals = _sum_over_processes(sums, [weights[site.module] for site in sites], sites, world)
    measures = tuple(
        SiteMeasure(
            score=float(table[:, index].mean()),
            score_std=float(table[:, index].std()),
            spectrum=() if total is None else leading_singular_values(total / len(table)),
            reached=total is not None,
        )
        for index, total in enumerate(totals)
    )
    return Measurement(measures, float(np.mean([loss for loss, _ in all_rows])), mean_rank_correlation(table))


def _sum_over_processes(
    sums: Sequence[Tensor | None], weights: Sequence[Tensor], sites: Sequence[Site], world: World
) -> list[Tensor | None]:
    """The summed gradients of all processes; None for a site that none of them reaches."""
    if world.size == 1:
        return list(sums)
    reached = np.any(world.gather([total is not None for total in sums]), axis=0)
    totals = [
        (torch.zeros_like(weight if site.rows is None else weight[site.rows[0] : site.rows[1]]) if own is None else own)
        if some
        else None
        for own, weight, site, some in zip(sums, weights, sites, reached, strict=True)
    ]
    world.sum_in_place([total for total in totals if total is not None])
    return totals


def mean_rank_correlation(table: np.ndarray) -> float | None:
    """Mean Spearman rank correlation between all pairs of rows; None for fewer than two rows or two columns.

    The paper reports 0.91 over 50 batches (AdaptSR, Section 3.3).

    Args:
        table: (batches, sites) scores, float64.
    """
    if table.shape[0] < 2 or table.shape[1] < 2:
        return None
    ranks = np.stack([_average_ranks(row) for row in table])
    spread = ranks.std(axis=1)
    if (spread == 0).any():
        return None
    correlation = np.corrcoef(ranks)
    return float(correlation[np.triu_indices(len(ranks), k=1)].mean())


def _average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, ties sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return (first + (counts - 1) / 2)[inverse]
