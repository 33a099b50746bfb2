"""Importance of every single weight by its gradient, for the mask of a sparse update."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import TrainingError
from adaptsr_cli.ranking.gradients import site_weights
from adaptsr_cli.runtime import Precision, autocast, exact_products


def measure_importance(
    backbone: Backbone,
    sites: Sequence[Site],
    batches: Iterable[Batch],
    *,
    times_weight: bool,
    device: torch.device,
    precision: Precision,
    world: World = SINGLE_PROCESS,
) -> dict[str, Tensor]:
    """Measure |dL/dw| of every weight of the sites, by the gradient of the L1 loss over all batches together.

    Args:
        backbone: The network, already on `device`. Its weights are not changed.
        sites: What to measure.
        batches: This process's pairs; larger batches weigh more.
        times_weight: Measure |w dL/dw| instead (SNIP, Lee et al. 2019).
        device: Where to compute.
        precision: Precision of the forward pass.
        world: The processes that share the pairs; the result is the same in all of them.

    Returns:
        By site name, in the shape of the site, fp32, up to a factor common to all; zero where no gradient arrives.

    Raises:
        TrainingError: The loss is not finite.
    """
    with site_weights(backbone, sites) as weights, exact_products(device):
        for batch in batches:
            with autocast(device, precision):
                sr = super_resolve(backbone, batch.lr.to(device))
            loss = nn.functional.l1_loss(sr.float(), batch.hr.to(device)) * len(sr)
            if not torch.isfinite(loss):
                raise TrainingError("the backbone's loss is not finite on this data", "try `precision` fp32")
            torch.autograd.backward(loss)  # adds up
        gradients = {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad for name, weight in weights.items()
        }
    if world.size > 1:
        world.all_reduce_sum_(list(gradients.values()))
    found = {}
    for site in sites:
        rows = slice(None) if site.rows is None else slice(*site.rows)
        gradient = gradients[site.module][rows]
        found[site.name] = (weights[site.module].detach()[rows] * gradient if times_weight else gradient).abs()
    return found
