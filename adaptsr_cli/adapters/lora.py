"""Low-rank updates as parametrizations of a weight: W' = W0 + (alpha / r) B A (AdaptSR, Eq. 1-3 and 5).

One class serves Linear, Conv2d and grouped Conv2d. A parametrization changes the weight that the layer reads, not what
the layer does, so merging is removing the parametrization with the value left in, and inference costs nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site


class LowRankFactors(nn.Module):
    """The two factors of one site and the update that they make.

    Args:
        site: Where the update goes.
        rank: Inner dimension r, at least 1.
        alpha: Numerator of the scale alpha / r.

    Attributes:
        lora_A: (r, in) for a Linear, (r, Cin/groups, 1, 1) for a convolution; Kaiming-uniform after `reset`.
        lora_B: (out, r) for a Linear, (Cout, r, k, k) for a convolution; zero after `reset`, so training starts at
            the backbone.
    """

    def __init__(self, site: Site, rank: int, alpha: float) -> None:
        super().__init__()
        out, inside, *kernel = site.shape
        self.rank = rank
        self.alpha = alpha
        self.lora_A = nn.Parameter(torch.zeros(rank, inside, *(1 for _ in kernel)))
        self.lora_B = nn.Parameter(torch.zeros(out, rank, *kernel))

    def reset(self, generator: torch.Generator) -> None:
        """Draws A anew and sets B to zero; the draw depends only on the generator's state."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.lora_B)

    def delta(self) -> Tensor:
        """The update (alpha / r) B A in the shape of the site, fp32.

        For a convolution this is the kernel of the two convolutions of AdaptSR, Eq. 2 in one: B * (A * x) is linear
        in x, and a 1x1 convolution before a k x k one only mixes the input channels of its kernel.
        """
        # In bf16 the product would lose the small updates that the fp32 weight can still hold.
        with torch.autocast(self.lora_A.device.type, enabled=False):
            across = self.lora_A.flatten(1)  # (r, in)
            if self.lora_B.dim() == 2:
                update = self.lora_B @ across  # (out, in)
            else:
                kernels = self.lora_B.flatten(2)  # (Cout, r, k * k)
                update = torch.matmul(across.t(), kernels)  # (Cout, Cin/g, k * k)
                update = update.unflatten(2, self.lora_B.shape[2:])  # (Cout, Cin/g, k, k)
            return update * (self.alpha / self.rank)


class LowRankUpdate(nn.Module):
    """Parametrization of one weight by the low-rank updates of one or more of its row blocks.

    Args:
        parts: (rows, factors) with rows None for the whole weight, or disjoint ascending row ranges.
    """

    def __init__(self, parts: Sequence[tuple[tuple[int, int] | None, LowRankFactors]]) -> None:
        super().__init__()
        self.rows = tuple(rows for rows, _ in parts)
        self.factors = nn.ModuleList(factors for _, factors in parts)

    def forward(self, weight: Tensor) -> Tensor:
        """The adapted weight, of the same shape and dtype.

        Args:
            weight: The frozen weight W0.
        """
        pieces: list[Tensor] = []
        position = 0
        for rows, factors in zip(self.rows, self.factors, strict=True):
            assert isinstance(factors, LowRankFactors)
            if rows is None:
                return weight + factors.delta().to(weight.dtype)
            start, stop = rows
            if start > position:
                pieces.append(weight[position:start])
            pieces.append(weight[start:stop] + factors.delta().to(weight.dtype))
            position = stop
        if position < weight.shape[0]:
            pieces.append(weight[position:])
        return torch.cat(pieces)
