"""Singular values and vectors of gradients, unfolded to the matrix of the low-rank factorisation."""

from __future__ import annotations

import torch
from torch import Tensor

from adaptsr_cli.adapters.factors import unfold_for_factors

LEADING = 64  # no sensible budget pays for a higher rank, and saliency.json stays readable


def leading_singular_values(gradient: Tensor) -> tuple[float, ...]:
    """Compute the largest singular values of a gradient, at most 64, descending."""
    matrix = unfold_for_factors(gradient.detach().float())
    values = torch.linalg.svdvals(matrix.cpu())
    return tuple(float(value) for value in values[:LEADING])


def leading_directions(even: Tensor | None, odd: Tensor | None, count: int) -> Tensor | None:
    """Compute the leading right singular vectors of a mean gradient: the input directions of the best first step.

    Args:
        even: See `mean_and_noise_spectrum`.
        odd: See `mean_and_noise_spectrum`.
        count: How many at most; 64 at most.

    Returns:
        (k, in) orthonormal rows, fp32 on the CPU; None where no gradient arrived.
    """
    present = [half for half in (even, odd) if half is not None]
    if not present:
        return None
    matrix = unfold_for_factors(torch.stack(present).sum(dim=0).float()).cpu()
    _, _, rows = torch.linalg.svd(matrix, full_matrices=False)
    leading: Tensor = rows[: min(count, LEADING)]
    return leading.contiguous()


def mean_and_noise_spectrum(
    even: Tensor | None, odd: Tensor | None, batches: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute the singular values of a mean gradient, and of a matrix that holds nothing but its noise.

    In the difference between the means of two halves of the batches the signal cancels. Scaled by
    sqrt(n_even n_odd) / n it has the variance of the mean over all n batches.

    Args:
        even: Sum of the gradients of the batches 0, 2, 4...; None where no gradient arrived.
        odd: Sum of the gradients of the batches 1, 3, 5...; None also where there is only one batch.
        batches: Number n of batches.

    Returns:
        (of the mean, of the noise): descending, at most 64 each; the noise is empty where there is one half only.
    """
    present = [half for half in (even, odd) if half is not None]
    if not present:
        return (), ()
    mean = leading_singular_values(torch.stack(present).sum(dim=0) / batches)
    if even is None or odd is None:
        return mean, ()
    count_even, count_odd = (batches + 1) // 2, batches // 2
    noise = (even / count_even - odd / count_odd) * ((count_even * count_odd) ** 0.5 / batches)
    return mean, leading_singular_values(noise)
