"""Low-rank updates of k x k convolutions by other factorisations than the paper's 1x1 -> kxk (AdaptSR, Table 9).

``kxk-1x1`` turns the order of the two kernels round. Of the third, ``single``, the paper says no more than
"single-kernel variants"; it does not define it. Here every rank has one k x k kernel between a 1x1 before and a 1x1
after it, a CP decomposition of the update.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import SiteAdapter


def multiply_kernels_first(lora_a: Tensor, lora_b: Tensor) -> Tensor:
    """B A in the shape of the site, where A has the k x k kernels.

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
        """Draws A anew and sets B to zero; the draw depends only on the generator's state."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.lora_B)

    def product(self, weights: Tensor) -> Tensor:
        """B diag(weights) A in the shape of the site; weights: (r,)."""
        return multiply_kernels_first(self.lora_A, self.lora_B * weights.view(-1, 1, 1))

    def delta(self) -> Tensor:
        """The update s B A in the shape of the site, fp32."""
        return multiply_kernels_first(self.lora_A, self.lora_B) * self.scaling

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """W0 + s B A."""
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
        """Draws A and the kernels anew and sets B to zero; the draw depends only on the generator's state."""
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5), generator=generator)
        nn.init.normal_(self.lora_K, generator=generator)
        with torch.no_grad():
            self.lora_K.div_(torch.linalg.vector_norm(self.lora_K, dim=(1, 2), keepdim=True))
        nn.init.zeros_(self.lora_B)

    def product(self, weights: Tensor) -> Tensor:
        """The sum of weight_r b_r (x) a_r (x) kappa_r in the shape of the site; weights: (r,)."""
        return self._multiply(self.lora_B * weights.view(-1, 1, 1))

    def delta(self) -> Tensor:
        """The update in the shape of the site, fp32."""
        return self._multiply(self.lora_B) * self.scaling

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """W0 and the update."""
        return weight + self.delta().to(weight.dtype)

    def _multiply(self, lora_b: Tensor) -> Tensor:
        """The sum of b_r (x) a_r (x) kappa_r; lora_b: (Cout, r, 1, 1)."""
        # First the smaller side: (r, Cin/g, 1, 1) x (r, 1, k, k) -> (r, Cin/g, k, k).
        return multiply_kernels_first(self.lora_A * self.lora_K.unsqueeze(1), lora_b)
