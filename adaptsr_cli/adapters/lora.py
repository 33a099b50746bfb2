"""Low-rank updates: W' = W0 + s B A with s = alpha / r (AdaptSR, Eq. 1-3 and 5) or alpha / sqrt(r).

One class serves Linear, Conv2d and grouped Conv2d. A parametrization changes the weight that the layer reads, not what
the layer does, so merging is removing the parametrization with the value left in, and inference costs nothing more.

These are the factors themselves; `low_rank` puts them on a network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.parametrization import SiteAdapter
from adaptsr_cli.adapters.sites import Site


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


def multiply_factors(lora_a: Tensor, lora_b: Tensor) -> Tensor:
    """B A in the shape of the site.

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
        strength: What the update is multiplied with.

    Attributes:
        lora_A: (r, in) for a Linear, (r, Cin/groups, 1, 1) for a convolution; Kaiming-uniform after `reset`.
        lora_B: (out, r) for a Linear, (Cout, r, k, k) for a convolution; zero after `reset`, so training starts at
            the backbone.
    """

    def __init__(self, site: Site, rank: int, strength: float) -> None:
        super().__init__()
        out, inside, *kernel = site.shape
        self.rank = rank
        self.strength = strength
        self.lora_A = nn.Parameter(torch.zeros(rank, inside, *(1 for _ in kernel)))
        self.lora_B = nn.Parameter(torch.zeros(out, rank, *kernel))

    def reset(self, generator: torch.Generator) -> None:
        """Draws A anew and sets B to zero; the draw depends only on the generator's state."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.lora_B)

    def product(self, weights: Tensor) -> Tensor:
        """B diag(weights) A in the shape of the site; weights: (r,)."""
        return multiply_factors(self.lora_A * weights.view(-1, *(1 for _ in self.lora_A.shape[1:])), self.lora_B)

    def delta(self) -> Tensor:
        """The update s B A in the shape of the site, fp32."""
        update = multiply_factors(self.lora_A, self.lora_B)
        return update if self.strength == 1 else update * self.strength

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """W0 + s B A."""
        return weight + self.delta().to(weight.dtype)
