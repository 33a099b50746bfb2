"""The losses of the iterations since they were last looked at, which stay on the device until then."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

LossLog = dict[str, Tensor | float]
"""The whole loss of one iteration as ``loss``, and its parts by name."""


def read_losses(pending: Sequence[LossLog], reduce: Callable[[Sequence[Tensor]], None]) -> list[LossLog]:
    """The losses as numbers.

    Args:
        pending: Those that are numbers already are of the whole batch.
        reduce: Replaces means over this process's share of a batch by those over the whole batch, in place.
    """
    fresh = [value for losses in pending for value in losses.values() if isinstance(value, Tensor)]
    summed = torch.stack(fresh) if fresh else torch.empty(0)
    reduce([summed])
    found = iter(summed.tolist())
    return [
        {name: next(found) if isinstance(value, Tensor) else value for name, value in losses.items()}
        for losses in pending
    ]


def are_finite(losses: Sequence[LossLog]) -> bool:
    """Whether all numbers are."""
    return all(math.isfinite(value) for parts in losses for value in parts.values())


def mean_parts(losses: Sequence[LossLog]) -> dict[str, float]:
    """The mean of each part over the iterations that have it: that of a discriminator begins after its warm-up."""
    names = dict.fromkeys(name for parts in losses for name in parts)
    found = {name: [float(parts[name]) for parts in losses if name in parts] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}
