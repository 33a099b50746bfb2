"""The criteria by which sites are ranked: one record each, and the table of them.

The gradient norm is that of AdaptSR, Algorithm 1; the others are its rivals (AdaptSR, Table 11). Of every criterion a
larger value says that the site should rather be adapted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from adaptsr_cli.artifacts.base import Criterion


@dataclass(frozen=True)
class BatchEvidence:
    """Everything that one batch tells about one site.

    Attributes:
        weight: The weight, in the shape of the site.
        gradient: Gradient of the batch's L1 loss by it; zero where none arrives.
        activation: () root mean square of the layer's output; 0 where the layer is not called as a module.
    """

    weight: Tensor
    gradient: Tensor
    activation: Tensor

    @cached_property
    def gradient_norm(self) -> Tensor:
        """() Euclidean norm of the gradient."""
        norm: Tensor = self.gradient.norm()
        return norm


@dataclass(frozen=True)
class SiteEvidence:
    """Everything that all batches together tell about one site.

    Attributes:
        weight_norm: Euclidean norm of the weight.
        gains: What each rank gains by the mean gradient: see `ranking.spectral.signal_gains`.
        chance: A number drawn uniformly from [0, 1), by the seed.
    """

    weight_norm: float
    gains: tuple[float, ...]
    chance: float


@dataclass(frozen=True)
class CriterionSpec:
    """The record of one criterion. One of the two functions is given.

    Attributes:
        name: As in ``--criterion`` and in ``saliency.json``.
        summary: What it measures, in one line for people.
        of_batch: Its value, a () tensor of at least 0, of one batch; the score is the mean over the batches.
        of_site: Its value, at least 0, where that is one number for all batches.
    """

    name: Criterion
    summary: str
    of_batch: Callable[[BatchEvidence], Tensor] | None = None
    of_site: Callable[[SiteEvidence], float] | None = None


def _snip(batch: BatchEvidence) -> Tensor:
    return (batch.weight * batch.gradient).abs().sum()


# The command line must list the names without importing torch, so they stand in `artifacts.base.Criterion` too; a test
# compares the two.
CRITERIA: Final[dict[Criterion, CriterionSpec]] = {
    spec.name: spec
    for spec in (
        CriterionSpec(
            "gradient",
            "norm of the gradient, ||grad_W L||_2 (AdaptSR, Eq. 7)",
            of_batch=lambda batch: batch.gradient_norm,
        ),
        CriterionSpec(
            "fisher",
            "sum of the diagonal Fisher information, (grad_W L)^2 of a batch",
            of_batch=lambda batch: batch.gradient_norm.square(),
        ),
        CriterionSpec(
            "activation",
            "root mean square of the layer's output",
            of_batch=lambda batch: batch.activation,
        ),
        CriterionSpec("weight", "norm of the weight, ||W||_2", of_site=lambda site: site.weight_norm),
        CriterionSpec("snip", "sum of |w grad_w L| (Lee et al. 2019)", of_batch=_snip),
        CriterionSpec("random", "a random number, by the seed", of_site=lambda site: site.chance),
        CriterionSpec(
            "spectral",
            "norm of the mean gradient above the noise of the batches",
            of_site=lambda site: sum(site.gains) ** 0.5,
        ),
    )
}
"""Every criterion by its name."""


def batch_criteria() -> tuple[CriterionSpec, ...]:
    """List the criteria that every batch gives a value of."""
    return tuple(spec for spec in CRITERIA.values() if spec.of_batch is not None)


def measure_batch(batch: BatchEvidence) -> Tensor:
    """Measure all criteria of `batch_criteria` at one site, in their order: (criteria,) fp32."""
    return torch.stack([spec.of_batch(batch) for spec in batch_criteria() if spec.of_batch is not None])
