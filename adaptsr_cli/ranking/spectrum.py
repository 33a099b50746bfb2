"""Singular values of gradients in the shape of the low-rank factorisation."""

from __future__ import annotations

import torch
from torch import Tensor

LEADING = 64  # more is never bought by a sensible budget, and keeps saliency.json readable


def unfold_for_factors(weight: Tensor) -> Tensor:
    """A weight as the matrix whose rank the factors bound.

    Args:
        weight: (out, in) or (Cout, Cin/groups, k, k).

    Returns:
        (out, in), or (Cout * k * k, Cin/groups) for the 1x1 -> kxk factorisation: its update has column space in the
        k x k kernels and row space in the input channels (AdaptSR, Eq. 2).
    """
    if weight.dim() == 2:
        return weight
    return weight.permute(0, 2, 3, 1).flatten(0, 2)  # (Cout, k, k, Cin/g) -> (Cout * k * k, Cin/g)


def leading_singular_values(gradient: Tensor) -> tuple[float, ...]:
    """The largest singular values (at most 64) of a gradient unfolded as above, descending."""
    matrix = unfold_for_factors(gradient.detach().float())
    values = torch.linalg.svdvals(matrix.cpu())
    return tuple(float(value) for value in values[:LEADING])
