"""Truncation of low-rank updates: the best approximation of a trained update by one of fewer ranks.

Of all updates of rank k the one nearest to a trained update keeps its k largest singular values with their vectors, and
the squared distance is the sum of the squares of the others (Eckart and Young 1936).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adaptsr_cli.adapters.factors import KernelFirstFactors, LowRankFactors, unfold_for_factors

MatrixFactors = LowRankFactors | KernelFirstFactors
"""Factors whose update is the product of two matrices, so that it has singular values."""

# Singular values below this part of the largest are rounding of the fp32 product, not something that was learnt.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class UpdateSpectrum:
    """The singular value decomposition of the update of one site, unfolded as its factors see it.

    Attributes:
        shape: Of the update: (out, in) or (Cout, Cin/groups, k, k).
        kernels_first: The factorisation of a convolution: kxk -> 1x1, else 1x1 -> kxk.
        left: (m, n) float64 left singular vectors, m = out; Cout k k for a convolution by 1x1 -> kxk.
        values: (n,) float64 singular values, descending, those of rounding left out; n is 0 for an update of zero.
        right: (n, c) float64 right singular vectors, c = in; Cin/groups k k for a convolution by kxk -> 1x1.
    """

    shape: tuple[int, ...]
    kernels_first: bool
    left: Tensor
    values: Tensor
    right: Tensor

    @property
    def energies(self) -> tuple[float, ...]:
        """The squared singular values, whose sum is the squared norm of the update."""
        return tuple(float(value) ** 2 for value in self.values)

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """Compute the factors A and B of the nearest update of this rank; B A is the update itself.

        Each of the two takes the root of each singular value, so that a step of either changes the update equally.

        Args:
            rank: How many singular values are kept; more than there are keeps all.

        Returns:
            A and B as in `LowRankFactors`, or in `KernelFirstFactors` where the kernels come first; fp32 on the CPU.
        """
        out, inside, *kernel = self.shape
        roots = self.values[:rank].sqrt()
        across = (roots[:, None] * self.right[:rank]).float()
        tall = (self.left[:, :rank] * roots).float()  # (out [* k * k], rank)
        if not kernel:
            return across, tall
        if self.kernels_first:
            return across.view(len(roots), inside, *kernel), tall.view(out, len(roots), 1, 1)
        kernels = tall.view(out, *kernel, len(roots)).movedim(-1, 1)  # (Cout, rank, k, k)
        return across.view(len(roots), inside, 1, 1), kernels.contiguous()


def decompose(update: Tensor, *, kernels_first: bool = False) -> UpdateSpectrum:
    """Compute the singular values and vectors of an update.

    Args:
        update: (out, in) or (Cout, Cin/groups, k, k), what is added to the weight.
        kernels_first: The factorisation of a convolution: kxk -> 1x1, else 1x1 -> kxk.
    """
    shape = tuple(update.shape)
    matrix = update.detach().cpu().double()
    # (Cout, Cin/g * k * k), or (Cout * k * k, Cin/g)
    matrix = matrix.flatten(1) if kernels_first else unfold_for_factors(matrix)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    known = int((values > _ROUNDING * values[0]).sum())
    return UpdateSpectrum(shape, kernels_first, left[:, :known], values[:known], right[:known])


def put_factors(target: MatrixFactors, lora_a: Tensor, lora_b: Tensor) -> None:
    """Set the factors of an adapter so that its update is B A, whatever the adapter's scaling is.

    Ranks of the adapter beyond those of the factors keep their rows of A and get zeros in B: they change nothing yet,
    and learn from the first step on.

    Args:
        target: An adapter of at least as many ranks as the factors.
        lora_a: (k, ...) as `UpdateSpectrum.factors` gives it.
        lora_b: (out, k, ...) likewise.
    """
    rank, root = len(lora_a), target.scaling**0.5
    with torch.no_grad():
        target.lora_A[:rank] = lora_a / root
        target.lora_B.zero_()
        target.lora_B[:, :rank] = lora_b / root
