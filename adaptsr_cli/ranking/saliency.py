"""Measurement of the saliency of all sites: every criterion of `criteria`, in one pass over the batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.artifacts.base import Criterion
from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.ends import MixedPrecision
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import TrainingError
from adaptsr_cli.progress import Task
from adaptsr_cli.ranking.activations import ActivationMeter
from adaptsr_cli.ranking.criteria import CRITERIA, BatchEvidence, SiteEvidence, batch_criteria, measure_batch
from adaptsr_cli.ranking.gradients import site_weights
from adaptsr_cli.ranking.spectral import signal_gains
from adaptsr_cli.ranking.spectrum import leading_directions, mean_and_noise_spectrum
from adaptsr_cli.runtime import Precision, exact_products


@dataclass(frozen=True)
class SiteMeasure:
    """The measurement of one site.

    Attributes:
        scores: Every criterion by its name; the mean over batches of those in `batch_criteria`.
        spread: Standard deviation over batches of those in `batch_criteria`.
        spectrum: Leading singular values of the gradient averaged over batches, descending.
        gains: What each rank gains: see `signal_gains`.
        directions: (k, in) leading right singular vectors of that gradient; None where no gradient arrived.
        reached: Whether any gradient arrived; a site that takes no part in the forward pass has none.
    """

    scores: Mapping[Criterion, float]
    spread: Mapping[Criterion, float]
    spectrum: tuple[float, ...]
    gains: tuple[float, ...]
    directions: Tensor | None
    reached: bool


@dataclass(frozen=True)
class Measurement:
    """The measurement of all sites, in their order.

    Attributes:
        mean_loss: L1 loss of the backbone on the batches, in [0, 1].
        mean_spearman: See `mean_rank_correlation`; by criterion, of those in `batch_criteria`.
    """

    sites: tuple[SiteMeasure, ...]
    mean_loss: float
    mean_spearman: Mapping[Criterion, float | None]


def measure_gradients(
    backbone: Backbone,
    sites: Sequence[Site],
    batches: Iterable[Batch],
    *,
    device: torch.device,
    precision: Precision,
    task: Task,
    world: World = SINGLE_PROCESS,
    seed: int = 0,
) -> Measurement:
    """Measure all criteria for every site in one pass over the batches, with the gradients of the L1 loss.

    Args:
        backbone: The network, already on `device`. Its weights are not changed.
        sites: What to measure.
        batches: This process's batches of pairs: every `world.size`-th, from `world.rank` on.
        device: Where to compute.
        precision: Precision of the forward pass.
        task: Advanced by one a batch.
        world: The processes that share the batches; the measurement is that of all batches in all of them.
        seed: Of the random criterion.

    Raises:
        TrainingError: The loss is not finite.
    """
    # Even and odd batches are summed separately: the difference between the two halves is noise.
    halves: tuple[list[Tensor | None], list[Tensor | None]] = ([None] * len(sites), [None] * len(sites))
    values: list[Tensor] = []
    losses: list[float] = []
    meter, mixed = ActivationMeter(sites, device), MixedPrecision(backbone, precision)
    with site_weights(backbone, sites) as weights, exact_products(device):
        for place, batch in enumerate(batches):
            backbone.model.zero_grad(set_to_none=True)
            with meter.watching(backbone.model), mixed.context():
                sr = super_resolve(backbone, batch.lr.to(device))
            loss = nn.functional.l1_loss(sr.float(), batch.hr.to(device))
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                raise TrainingError("the backbone's loss is not finite on this data", "try `precision` fp32")
            torch.autograd.backward(loss)
            sums = halves[(world.rank + place * world.size) % 2]
            measured: list[Tensor] = []
            for index, (site, activation) in enumerate(zip(sites, meter.read(), strict=True)):
                weight, gradient = weights[site.module].detach(), weights[site.module].grad
                part = _rows(torch.zeros_like(weight) if gradient is None else gradient, site)
                measured.append(measure_batch(BatchEvidence(_rows(weight, site), part, activation)))
                if gradient is not None:
                    total = sums[index]
                    sums[index] = part.clone() if total is None else total.add_(part)
            values.append(torch.stack(measured, dim=1))  # (criteria, sites)
            task.advance()
    rows = [(loss, row.double().cpu().numpy()) for loss, row in zip(losses, values, strict=True)]
    all_rows = world.gather_shares(rows)
    table = np.stack([row for _, row in all_rows])  # (batches, criteria, sites)
    blocks = [_rows(weights[site.module].detach(), site) for site in sites]
    even, odd = (_sum_over_processes(half, blocks, world) for half in halves)
    chance = torch.rand(len(sites), generator=torch.Generator().manual_seed(seed)).tolist()
    measures = tuple(
        _measure_site(site, table[:, :, index], even[index], odd[index], float(blocks[index].norm()), chance[index])
        for index, site in enumerate(sites)
    )
    agreement = {spec.name: mean_rank_correlation(table[:, number]) for number, spec in enumerate(batch_criteria())}
    return Measurement(measures, float(np.mean([loss for loss, _ in all_rows])), agreement)


def _rows(tensor: Tensor, site: Site) -> Tensor:
    """Take a site's part of a module's weight or gradient."""
    return tensor if site.rows is None else tensor[site.rows[0] : site.rows[1]]


def _measure_site(
    site: Site, table: np.ndarray, even: Tensor | None, odd: Tensor | None, weight_norm: float, chance: float
) -> SiteMeasure:
    """Put together everything that is known of one site.

    Args:
        site: The site.
        table: (batches, criteria) values of `batch_criteria`, float64.
        even: Sum of the gradients of the even batches; None where none arrived.
        odd: Of the odd batches; None also where there is only one batch.
        weight_norm: ||W||_2.
        chance: The random criterion.
    """
    spectrum, noise = mean_and_noise_spectrum(even, odd, len(table))
    gains = signal_gains(spectrum, noise)
    names = [spec.name for spec in batch_criteria()]
    means = dict(zip(names, table.mean(axis=0).tolist(), strict=True))
    evidence = SiteEvidence(weight_norm, gains, chance)
    scores = {name: means[name] if spec.of_site is None else spec.of_site(evidence) for name, spec in CRITERIA.items()}
    spread = dict(zip(names, table.std(axis=0).tolist(), strict=True))
    directions = leading_directions(even, odd, site.max_rank)
    return SiteMeasure(scores, spread, spectrum, gains, directions, reached=directions is not None)


def _sum_over_processes(sums: Sequence[Tensor | None], like: Sequence[Tensor], world: World) -> list[Tensor | None]:
    """Add the gradients of all processes up; None for a site that none of them reaches."""
    if world.size == 1:
        return list(sums)
    reached = np.any(world.gather([total is not None for total in sums]), axis=0)
    totals = [
        (torch.zeros_like(weight) if own is None else own) if some else None
        for own, weight, some in zip(sums, like, reached, strict=True)
    ]
    world.all_reduce_sum_([total for total in totals if total is not None])
    return totals


def mean_rank_correlation(table: np.ndarray) -> float | None:
    """Compute the mean Spearman rank correlation of all pairs of rows; None for fewer than two rows or columns.

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
    """Rank numbers from 0, ties sharing their mean rank.

    `scipy.stats.rankdata` gives the same, and importing `scipy.stats` takes half a second, which `score` would pay for
    this line alone.
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return (first + (counts - 1) / 2)[inverse]
