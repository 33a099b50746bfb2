"""Low-rank factors of one weight: W' = W0 + s B A with s = alpha / r (AdaptSR, Eq. 1-3 and 5) or alpha / sqrt(r).

A parametrization changes the weight that the layer reads, not what the layer does, so folding is removing the
parametrization with the value left in, and inference costs nothing more.

`LowRankFactors` serves Linear, Conv2d and grouped Conv2d; of a k x k convolution it is the paper's factorisation
1x1 -> kxk. The two others are those of AdaptSR, Table 9: ``kxk-1x1`` turns the order of the two kernels round. Of
``single`` the paper says no more than "single-kernel variants" and does not define it; here every rank has one k x k
kernel between a 1x1 before and a 1x1 after it, a CP decomposition of the update.
"""

from __future__ import annotations

import math
from math import prod
from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import SiteAdapter
from adaptsr_cli.artifacts.base import Factorization


def unfold_for_factors(weight: Tensor) -> Tensor:
    """Unfold a weight to the matrix whose rank the factors bound.

    Args:
        weight: (out, in) or (Cout, Cin/groups, k, k).

    Returns:
        (out, in), or (Cout * k * k, Cin/groups) for the 1x1 -> kxk factorisation: its update has column space in the
        k x k kernels and row space in the input channels (AdaptSR, Eq. 2).
    """
    if weight.dim() == 2:
        return weight
    return weight.permute(0, 2, 3, 1).flatten(0, 2)  # (Cout, k, k, Cin/g) -> (Cout * k * k, Cin/g)


def multiply_factors(lora_a: Tensor, lora_b: Tensor) -> Tensor:
    """Multiply B A, in the shape of the site.

    For a convolution this is the kernel of the two convolutions of AdaptSR, Eq. 2 in one: B * (A * x) is linear in x,
    and a 1x1 convolution before a k x k one only mixes the input channels of its kernel.

    Args:
        lora_a: (r, in) or (r, Cin/groups, 1, 1).
        lora_b: (out, r) or (Cout, r, k, k).
    """
    across = lora_a.flatten(1)  # (r, in)
    if lora_b.dim() == 2:
        return torch.matmul(lora_b, across)  # (out, in)
    kernels = lora_b.flatten(2)  # (Cout, r, k * k)
    update: Tensor = torch.matmul(across.t(), kernels)  # (Cout, Cin/g, k * k)
    return update.view(*update.shape[:2], *lora_b.shape[2:])


class LowRankFactors(SiteAdapter):
    """The two factors of one site and the update that they make, for a convolution by 1x1 -> kxk.

    Args:
        site: Where the update goes.
        rank: Inner dimension r, at least 1.
        scaling: What the update is multiplied with.

    Attributes:
        lora_A: (r, in) for a Linear, (r, Cin/groups, 1, 1) for a convolution; Kaiming-uniform after `reset`.
        lora_B: (out, r) for a Linear, (Cout, r, k, k) for a convolution; zero after `reset`, so training starts at
            the backbone.
    """

    def __init__(self, site: Site, rank: int, scaling: float) -> None:
        super().__init__()
        out, inside, *kernel = site.shape
        self.rank = rank
        self.scaling = scaling
        self.lora_A = nn.Parameter(torch.zeros(rank, inside, *(1 for _ in kernel)))
        self.lora_B = nn.Parameter(torch.zeros(out, rank, *kernel))

    def reset(self, generator: torch.Generator) -> None:
        """Draw A anew and set B to zero; the draw depends only on the generator's state."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.lora_B)

    def product(self, weights: Tensor) -> Tensor:
        """Multiply B diag(weights) A, in the shape of the site; weights: (r,)."""
        return multiply_factors(self.lora_A * weights.view(-1, *(1 for _ in self.lora_A.shape[1:])), self.lora_B)

    def delta(self) -> Tensor:
        """Compute the update s B A in the shape of the site, fp32."""
        update = multiply_factors(self.lora_A, self.lora_B)
        return update if self.scaling == 1 else update * self.scaling

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """Compute W0 + s B A."""
        return weight + self.delta().to(weight.dtype)


def multiply_kernels_first(lora_a: Tensor, lora_b: Tensor) -> Tensor:
    """Multiply B A, in the shape of the site, where A has the k x k kernels.

    Args:
        lora_a: (r, Cin/groups, k, k).
        lora_b: (Cout, r, 1, 1).
    """
    update: Tensor = torch.matmul(lora_b.flatten(1), lora_a.flatten(1))  # (Cout, Cin/g * k * k)
    return update.view(-1, *lora_a.shape[1:])


class KernelFirstFactors(SiteAdapter):
    """The update of one convolution whose k x k kernels come first: s B A with a 1x1 B.

    Args:
        site: Where the update goes; a convolution.
        rank: Inner dimension r, at least 1.
        scaling: What the update is multiplied with.

    Attributes:
        lora_A: (r, Cin/groups, k, k); Kaiming-uniform after `reset`.
        lora_B: (Cout, r, 1, 1); zero after `reset`.
    """

    def __init__(self, site: Site, rank: int, scaling: float) -> None:
        super().__init__()
        out, *inside = site.shape
        self.rank = rank
        self.scaling = scaling
        self.lora_A = nn.Parameter(torch.zeros(rank, *inside))
        self.lora_B = nn.Parameter(torch.zeros(out, rank, 1, 1))

    def reset(self, generator: torch.Generator) -> None:
        """Draw A anew and set B to zero; the draw depends only on the generator's state."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.lora_B)

    def product(self, weights: Tensor) -> Tensor:
        """Multiply B diag(weights) A, in the shape of the site; weights: (r,)."""
        return multiply_kernels_first(self.lora_A, self.lora_B * weights.view(-1, 1, 1))

    def delta(self) -> Tensor:
        """Compute the update s B A in the shape of the site, fp32."""
        return multiply_kernels_first(self.lora_A, self.lora_B) * self.scaling

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """Compute W0 + s B A."""
        return weight + self.delta().to(weight.dtype)


class SingleKernelFactors(SiteAdapter):
    """The update of one convolution by one k x k kernel a rank: s sum_r b_r (x) a_r (x) kappa_r.

    A rank costs Cin/groups + Cout + k k. This is our reading of the paper's "single-kernel variants" (AdaptSR,
    Section 3.2), which the paper does not define.

    Args:
        site: Where the update goes; a convolution.
        rank: Number of terms r, at least 1.
        scaling: What the update is multiplied with.

    Attributes:
        lora_A: (r, Cin/groups, 1, 1) vectors a; Kaiming-uniform after `reset`.
        lora_K: (r, k, k) kernels kappa; random of length 1 after `reset`, so that they leave the size of a signal.
        lora_B: (Cout, r, 1, 1) vectors b; zero after `reset`.
    """

    def __init__(self, site: Site, rank: int, scaling: float) -> None:
        super().__init__()
        out, inside, *kernel = site.shape
        self.rank = rank
        self.scaling = scaling
        self.lora_A = nn.Parameter(torch.zeros(rank, inside, 1, 1))
        self.lora_K = nn.Parameter(torch.zeros(rank, *kernel))
        self.lora_B = nn.Parameter(torch.zeros(out, rank, 1, 1))

    def reset(self, generator: torch.Generator) -> None:
        """Draw A and the kernels anew and set B to zero; the draw depends only on the generator's state."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5), generator=generator)
        nn.init.normal_(self.lora_K, generator=generator)
        with torch.no_grad():
            self.lora_K.div_(torch.linalg.vector_norm(self.lora_K, dim=(1, 2), keepdim=True))
        nn.init.zeros_(self.lora_B)

    def product(self, weights: Tensor) -> Tensor:
        """The sum of weight_r b_r (x) a_r (x) kappa_r in the shape of the site; weights: (r,)."""
        return self._multiply(self.lora_B * weights.view(-1, 1, 1))

    def delta(self) -> Tensor:
        """Compute the update in the shape of the site, fp32."""
        return self._multiply(self.lora_B) * self.scaling

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """Add the update to W0."""
        return weight + self.delta().to(weight.dtype)

    def _multiply(self, lora_b: Tensor) -> Tensor:
        """The sum of b_r (x) a_r (x) kappa_r; lora_b: (Cout, r, 1, 1)."""
        # The smaller side first: (r, Cin/g, 1, 1) x (r, 1, k, k) -> (r, Cin/g, k, k).
        return multiply_kernels_first(self.lora_A * self.lora_K.unsqueeze(1), lora_b)


Factors = LowRankFactors | KernelFirstFactors | SingleKernelFactors

_FACTOR_TYPES: Final[dict[Factorization, type[Factors]]] = {
    "1x1-kxk": LowRankFactors,
    "kxk-1x1": KernelFirstFactors,
    "single": SingleKernelFactors,
}


def new_factors(
    site: Site, rank: int, scaling: float, factorization: Factorization, generator: torch.Generator
) -> Factors:
    """Factors that make no update yet: A drawn anew, B zero.

    Args:
        site: Where the update goes; for a Linear or a 1x1 kernel all factorisations are alike.
        rank: At least 1.
        scaling: What the update is multiplied with.
        factorization: Of a convolution with a larger kernel.
        generator: Where the random numbers come from.
    """
    kind = LowRankFactors if prod(site.shape[2:]) == 1 else _FACTOR_TYPES[factorization]
    factors = kind(site, rank, scaling)
    factors.reset(generator)
    return factors
