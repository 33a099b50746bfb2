"""Importance of every single weight, for the mask of a sparse update."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.ends import MixedPrecision
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import TrainingError
from adaptsr_cli.ranking.gradients import site_weights
from adaptsr_cli.runtime import Precision, exact_products

_PROBE_RATE: Final = 1e-4  # low, so that no network is spoilt within the few steps


def measure_snip(
    backbone: Backbone,
    sites: Sequence[Site],
    batches: Iterable[Sequence[Batch]],
    *,
    device: torch.device,
    precision: Precision,
    world: World = SINGLE_PROCESS,
) -> dict[str, Tensor]:
    """Measure |w dL/dw| of every weight of the sites, by the gradient of the L1 loss over all batches together.

    Args:
        backbone: The network, already on `device`. Its weights are not changed.
        sites: What to measure.
        batches: This process's pairs, every batch in parts; larger parts weigh more.
        device: Where to compute.
        precision: Precision of the forward pass.
        world: The processes that share the pairs; the result is the same in all of them.

    Returns:
        By site name, in the shape of the site, fp32, up to a factor common to all; zero where no gradient arrives.

    Raises:
        TrainingError: The loss is not finite.
    """
    mixed = MixedPrecision(backbone, precision)
    with site_weights(backbone, sites) as weights, exact_products(device):
        for parts in batches:
            for part in parts:
                _add_gradient(backbone, part, device, mixed)
        gradients = _sum_gradients(weights, world)
        products = {name: (weight.detach() * gradients[name]).abs() for name, weight in weights.items()}
    return {site.name: products[site.module][_rows(site)] for site in sites}


def measure_movement(
    backbone: Backbone,
    sites: Sequence[Site],
    batches: Iterable[Sequence[Batch]],
    *,
    device: torch.device,
    precision: Precision,
    world: World = SINGLE_PROCESS,
) -> dict[str, Tensor]:
    """Measure how far a short full fine-tuning by the L1 loss moves every weight (LT-SFT, Ansell et al. 2022).

    Args:
        backbone: The network, already on `device`. Its weights are put back.
        sites: What to measure.
        batches: One for each step of Adam, in parts, of this process.
        device: Where to compute.
        precision: Precision of the forward pass.
        world: The processes that share the pairs; the result is the same in all of them.

    Returns:
        By site name, in the shape of the site, fp32.

    Raises:
        TrainingError: The loss is not finite.
    """
    mixed = MixedPrecision(backbone, precision)
    with site_weights(backbone, sites) as weights, exact_products(device):
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        optimizer = torch.optim.Adam(weights.values(), lr=_PROBE_RATE)
        try:
            for parts in batches:
                optimizer.zero_grad()
                for part in parts:
                    _add_gradient(backbone, part, device, mixed)
                for name, gradient in _sum_gradients(weights, world).items():
                    weights[name].grad = gradient
                optimizer.step()
            moved = {name: (weight.detach() - before[name]).abs() for name, weight in weights.items()}
        finally:
            with torch.no_grad():
                for name, weight in weights.items():
                    weight.copy_(before[name])
    return {site.name: moved[site.module][_rows(site)] for site in sites}


def _add_gradient(backbone: Backbone, batch: Batch, device: torch.device, mixed: MixedPrecision) -> None:
    """Add the gradient of the L1 loss, times the pairs of the batch, to those of the weights."""
    with mixed.context():
        sr = super_resolve(backbone, batch.lr.to(device))
    loss = nn.functional.l1_loss(sr.float(), batch.hr.to(device)) * len(sr)
    if not torch.isfinite(loss):
        raise TrainingError("the backbone's loss is not finite on this data", "try `precision` fp32")
    torch.autograd.backward(loss)


def _sum_gradients(weights: Mapping[str, nn.Parameter], world: World) -> dict[str, Tensor]:
    """The gradients of all processes, zero where none arrived."""
    found = {name: torch.zeros_like(weight) if weight.grad is None else weight.grad for name, weight in weights.items()}
    if world.size > 1:
        world.all_reduce_sum_(list(found.values()))
    return found


def _rows(site: Site) -> slice:
    """A site's part of its module's weight."""
    return slice(None) if site.rows is None else slice(*site.rows)
