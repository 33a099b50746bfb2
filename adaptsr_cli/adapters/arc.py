"""ARC, Adapter Re-Composing (Dong et al. 2023): projections that all layers of one input width share.

W' = W0 (I + U diag(c) U^T) along the input channels, b' = b0 + d. U is shared and starts as the leading right singular
vectors of all the weights together; c and d are the layer's and start at zero. The bias is added behind the layer, not
before it as in the paper: before a convolution with zero padding it could not be folded.

Trainable parameters, for the L planned sites of input width w whose budget (ranks x rank costs) is G and of which the
layers with a bias have D output channels: r = min(w, floor((G - D) / (w + L))), and r (w + L) + D, at most G.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import AdapterLayout, AdapterPlacement, AdapterSpec, MethodSpec, SiteAdapter, require_any


class SharedProjection(nn.Module):
    """A projection of one input width.

    Attributes:
        basis: (w, r) U.
    """

    def __init__(self, basis: Tensor) -> None:
        super().__init__()
        self.basis = nn.Parameter(basis)


class RecomposedUpdate(SiteAdapter):
    """One layer's use of a shared projection.

    Attributes:
        coefficients: (r,) c, zero at the start; None where r is 0, as is the projection.
        bias_delta: (out,) d, zero at the start; None where the layer has no bias.
    """

    def __init__(self, site: Site, projection: SharedProjection | None, *, bias: bool) -> None:
        super().__init__()
        self.changes = ("bias",) if projection is None else ("weight", "bias")
        self.projection = projection
        self.coefficients = None if projection is None else nn.Parameter(torch.zeros(projection.basis.shape[1]))
        self.bias_delta = nn.Parameter(torch.zeros(site.shape[0])) if bias else None

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """W0 (I + U diag(c) U^T)."""
        assert self.projection is not None
        assert self.coefficients is not None
        basis = self.projection.basis
        inner = weight.movedim(1, -1) @ basis.to(weight.dtype)  # (out, [k, k,] r)
        return weight + ((inner * self.coefficients) @ basis.t()).movedim(-1, 1)

    def adapt_bias(self, bias: Tensor) -> Tensor:
        """b0 + d."""
        assert self.bias_delta is not None
        return bias + self.bias_delta.to(bias.dtype)


def place_arc(spec: AdapterSpec) -> AdapterLayout:
    """Place a projection for each input width, and coefficients and a bias update at every planned site.

    Raises:
        ArtifactError: The budget buys no projection, and no layer has a bias.
    """
    groups: dict[int, list[tuple[Site, int]]] = {}
    for site, rank in spec.plan:
        groups.setdefault(site.shape[1], []).append((site, rank))
    projections: dict[int, SharedProjection] = {}
    for width, members in groups.items():
        budget = sum(rank * site.rank_cost for site, rank in members)
        biases = sum(site.shape[0] for site, _ in members if spec.has_bias(site))
        if rank := min(width, (budget - biases) // (width + len(members))):
            weights = [spec.weight(site) for site, _ in members]
            projections[width] = SharedProjection(_leading_directions(weights, rank))
    placements = [
        AdapterPlacement.at(site, RecomposedUpdate(site, projections.get(site.shape[1]), bias=spec.has_bias(site)))
        for site, _ in spec.plan
        if site.shape[1] in projections or spec.has_bias(site)
    ]
    shared = {f"projection#{width}": projection for width, projection in projections.items()}
    return AdapterLayout(require_any(placements, "a bias or the budget for a projection"), shared)


def _leading_directions(weights: list[Tensor], rank: int) -> Tensor:
    """Compute the (w, rank) leading right singular vectors of weights stacked along all but their input channels."""
    gram = sum(rows.T @ rows for rows in (weight.movedim(1, -1).flatten(0, -2).double() for weight in weights))
    assert isinstance(gram, Tensor)
    _, vectors = torch.linalg.eigh(gram.cpu())  # ascending
    leading: Tensor = vectors[:, -rank:].flip(1)
    return leading.float().contiguous()


METHOD: Final = MethodSpec(
    name="arc",
    place=place_arc,
    summary="projections that all layers of one input width share",
    learning_rate_factor=10.0,
)
