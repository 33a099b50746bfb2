"""PiSSA (Meng et al. 2024): low-rank factors initialised to the leading part of the weight itself.

With W0 = U S V^T in the factorisation's matrix, s B0 A0 is its part of rank r: A0 = (S_r / s)^(1/2) V_r^T and
B0 = U_r (S_r / s)^(1/2). What is left, W0 - s B0 A0, is frozen: W' = W0 + s (B A - B0 A0).

Trainable parameters: as many as those of `lora`. A0 and B0 are kept in the adapter file, which is twice as large then.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.factors import multiply_factors, multiply_kernels_first, unfold_for_factors
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import SiteAdapter


class PrincipalFactors(SiteAdapter):
    """The factors of one site and their initial values.

    The update is computed as s ((B - B0) A + B0 (A - A0)), which is the same and is zero, bit for bit, at the start.

    Args:
        site: Where the update goes.
        weight: The frozen weight of the site.
        rank: Inner dimension r, at least 1.
        scaling: What the update is multiplied with.
        kernels_first: The factorisation of a convolution: kxk -> 1x1, else 1x1 -> kxk.

    Attributes:
        lora_A: As in `LowRankFactors`, or in `KernelFirstFactors` where the kernels come first; so is `lora_B`.
        start_A: The initial value of `lora_A`, stored with it; likewise `start_B`.
    """

    start_A: Tensor
    start_B: Tensor

    def __init__(self, site: Site, weight: Tensor, rank: int, scaling: float, *, kernels_first: bool) -> None:
        super().__init__()
        self.rank = rank
        self.scaling = scaling
        # For a 1x1 kernel both are alike, as everywhere.
        kernels_first = kernels_first and prod(site.shape[2:]) > 1
        self._multiply = multiply_kernels_first if kernels_first else multiply_factors
        split = _split_kernels_first if kernels_first else _split_kernels_last
        first, second = split(weight.detach().float().cpu(), rank, scaling)
        self.lora_A = nn.Parameter(first)
        self.lora_B = nn.Parameter(second)
        self.register_buffer("start_A", first.clone())
        self.register_buffer("start_B", second.clone())

    def delta(self) -> Tensor:
        """Compute the update s (B A - B0 A0) in the shape of the site, fp32; its rank may be 2 r."""
        across = torch.cat([self.lora_A, self.lora_A - self.start_A])
        back = torch.cat([self.lora_B - self.start_B, self.start_B], dim=1)
        return self._multiply(across, back) * self.scaling

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """W0 + s (B A - B0 A0)."""
        return weight + self.delta().to(weight.dtype)


def _split_kernels_last(weight: Tensor, rank: int, scaling: float) -> tuple[Tensor, Tensor]:
    """Compute A and B of a Linear weight, or of a convolution's by 1x1 -> kxk, whose s B A is its leading part."""
    if weight.dim() == 2:
        return _leading_factors(weight, rank, scaling)
    across, back = _leading_factors(unfold_for_factors(weight), rank, scaling)  # (r, Cin/g), (Cout * k * k, r)
    kernels = back.view(len(weight), *weight.shape[2:], rank).movedim(-1, 1)  # (Cout, r, k, k)
    return across.view(*across.shape, 1, 1), kernels.contiguous()


def _split_kernels_first(weight: Tensor, rank: int, scaling: float) -> tuple[Tensor, Tensor]:
    """Compute A and B of a convolution's weight by kxk -> 1x1, whose s B A is its leading part."""
    across, back = _leading_factors(weight.flatten(1), rank, scaling)  # (r, Cin/g * k * k), (Cout, r)
    return across.view(rank, *weight.shape[1:]), back.view(*back.shape, 1, 1)


def _leading_factors(matrix: Tensor, rank: int, scaling: float) -> tuple[Tensor, Tensor]:
    """Compute (r, columns) A and (rows, r) B such that s B A is the best approximation of rank r of a matrix."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    root = (values[:rank] / scaling).sqrt()
    # Where the weight has fewer ranks B is zero there. A must not be, or neither would ever get a gradient.
    inner = torch.where(root > 0, root, torch.ones_like(root))
    return (inner.unsqueeze(1) * right[:rank]).contiguous(), (left[:, :rank] * root).contiguous()
