"""DoRA (Liu et al. 2024): direction and length of every output channel's weights are adapted apart.

W' = m V / ||V|| with V = W0 + s B A, row by row; m starts as ||W0||.

Trainable parameters: the sum over the planned sites of (rank - 1) x rank cost + output channels. One rank is given up
for the lengths, which never cost more, so the budget covers it; where the planned rank is 1, only the lengths train. By
another factorisation with cost c: the output channels D, and floor((rank x rank cost - D) / c) ranks for c each.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.lora import make_factors
from adaptsr_cli.adapters.spec import AdapterLayout, AdapterPlacement, AdapterSpec, MethodSpec, SiteAdapter

_MIN_LENGTH = 1e-12  # a row of zeros has no direction; it stays zero


def _row_lengths(weight: Tensor) -> Tensor:
    """(out,) Euclidean length of every output channel's weights, never 0."""
    lengths: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    return lengths.clamp_min(_MIN_LENGTH)


class DecomposedUpdate(SiteAdapter):
    """Direction and lengths of one site.

    Args:
        weight: The frozen weight.
        factors: The low-rank update of the direction; None for none.

    Attributes:
        magnitude: (out,) lengths m.
    """

    def __init__(self, weight: Tensor, factors: SiteAdapter | None) -> None:
        super().__init__()
        self.magnitude = nn.Parameter(_row_lengths(weight).clone())
        self.direction = factors

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """Compute the lengths m times the directions V / ||V||."""
        turned = weight if self.direction is None else self.direction.adapt_weight(weight)
        # The length is a constant for the gradient, as in the paper's section 4.3: less memory, the same quality.
        ratio = self.magnitude / _row_lengths(turned).detach()
        return turned * ratio.to(weight.dtype).view(-1, *(1 for _ in weight.shape[1:]))


def place_dora(spec: AdapterSpec) -> AdapterLayout:
    """Place lengths at every planned site, and factors of what is left of the planned rank there."""
    placements = []
    for site, rank in spec.plan:
        inner = spec.buy(site, rank, less=site.shape[0])
        factors = make_factors(spec, site, inner) if inner else None
        placements.append(AdapterPlacement.at(site, DecomposedUpdate(spec.weight(site), factors)))
    return AdapterLayout(tuple(placements))


METHOD: Final = MethodSpec(
    name="dora",
    place=place_dora,
    summary="direction (low-rank) and length of every output channel's weights",
    inits=("default", "gradient", "pissa"),
    factorizations=("1x1-kxk", "kxk-1x1", "single"),
    is_low_rank=True,
)
