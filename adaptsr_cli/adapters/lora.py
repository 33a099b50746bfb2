"""Low-rank updates: W' = W0 + s B A with s = alpha / r (AdaptSR, Eq. 1-3 and 5) or alpha / sqrt(r).

One class serves Linear, Conv2d and grouped Conv2d. A parametrization changes the weight that the layer reads, not what
the layer does, so merging is removing the parametrization with the value left in, and inference costs nothing more.

Trainable parameters: the sum over the planned sites of rank x rank cost, which is what the rank map says.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.parametrization import Blueprint, Order, Placement, SiteAdapter
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.errors import ArtifactError


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
    """The two factors of one site and the update that they make.

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

    def delta(self) -> Tensor:
        """The update s B A in the shape of the site, fp32."""
        return multiply_factors(self.lora_A, self.lora_B) * self.strength

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """W0 + s B A."""
        return weight + self.delta().to(weight.dtype)


def make_factors(order: Order, site: Site, rank: int) -> LowRankFactors:
    """Factors of one site at their start.

    With directions the first rows of A are the leading right singular vectors V of the mean gradient U S V^T. As B is
    zero, its first gradient is then in proportion to U S: the first step is the best step of rank r. Rows beyond the
    known directions stay random.

    Raises:
        ArtifactError: The directions are not this site's.
    """
    factors = LowRankFactors(site, rank, order.strength(rank))
    factors.reset(order.generator)
    if order.directions is None:
        return factors
    rows = order.directions.get(site.name)
    if rows is None or rows.dim() != 2 or rows.shape[1] != site.shape[1] or not bool(rows.isfinite().all()):
        raise ArtifactError(
            f"the gradient directions of {site.name} are missing or damaged", "run `adaptsr score` again"
        )
    with torch.no_grad():
        factors.lora_A.flatten(1)[: min(rank, len(rows))].copy_(rows[:rank])
    return factors


def place_lora(order: Order) -> Blueprint:
    """Factors of the planned rank at every planned site."""
    return Blueprint(tuple(Placement.at(site, make_factors(order, site, rank)) for site, rank in order.plan))
