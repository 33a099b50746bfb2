"""DiffFit (Xie et al. 2023): biases, norms, and one scale per branch of a block.

A branch is a module of a block that holds layers of its own: the attention and the MLP of a transformer block, a
residual block itself. Its scale is folded into the layer that ends it, W' = s W0, b' = s b0 + d, where that layer is
planned; scaling another one would scale what lies before a nonlinearity.

Trainable parameters: the output channels of the planned sites whose layer has a bias, the weights and biases of all
norm layers of the network, and one per branch whose end is planned. Which sites these are is all that the budget
decides.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.bitfit import BiasUpdate
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import AdapterLayout, AdapterPlacement, AdapterSpec, MethodSpec, SiteAdapter, require_any


class ScaledBranch(SiteAdapter):
    """The end of a branch: its scale, and an update of its bias.

    Attributes:
        scale: Scalar s; 1 at the start.
        bias_delta: (out,) update d, zero at the start; None where the layer has no bias.
    """

    changes = ("weight", "bias")

    def __init__(self, site: Site, *, bias: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.bias_delta = nn.Parameter(torch.zeros(site.shape[0])) if bias else None

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """The scale times W0."""
        return weight * self.scale.to(weight.dtype)

    def adapt_bias(self, bias: Tensor) -> Tensor:
        """The scale times b0, and d."""
        assert self.bias_delta is not None
        return bias * self.scale.to(bias.dtype) + self.bias_delta.to(bias.dtype)


class NormUpdate(SiteAdapter):
    """Updates of a norm layer's weight and bias, zero at the start."""

    changes = ("weight", "bias")

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        weight, bias = norm.weight, getattr(norm, "bias", None)
        assert isinstance(weight, Tensor)
        self.weight_delta = nn.Parameter(torch.zeros(weight.shape))
        self.bias_delta = nn.Parameter(torch.zeros(bias.shape)) if isinstance(bias, Tensor) else None

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """The norm's weight with its update."""
        return weight + self.weight_delta.to(weight.dtype)

    def adapt_bias(self, bias: Tensor) -> Tensor:
        """The norm's bias with its update."""
        assert self.bias_delta is not None
        return bias + self.bias_delta.to(bias.dtype)


def place_difffit(spec: AdapterSpec) -> AdapterLayout:
    """Place bias updates and branch scales at the planned sites, and updates of all norms.

    Raises:
        ArtifactError: The network has none of these.
    """
    ends = _branch_ends(spec)
    placements = []
    for site, _ in spec.plan:
        if site.name in ends:
            placements.append(AdapterPlacement.at(site, ScaledBranch(site, bias=spec.has_bias(site))))
        elif spec.has_bias(site):
            placements.append(AdapterPlacement.at(site, BiasUpdate(site)))
    placements += [
        AdapterPlacement(name, name, None, NormUpdate(module))
        for name, module in spec.model.named_modules()
        # The networks bring norm classes of their own, which have only the name in common.
        if "Norm" in type(module).__name__ and isinstance(getattr(module, "weight", None), nn.Parameter)
    ]
    return AdapterLayout(require_any(placements, "a bias, and no block has a branch or a norm"))


def _branch_ends(spec: AdapterSpec) -> set[str]:
    """Find the planned sites that end a branch: no layer of the same module comes after them."""
    last: dict[str, str] = {}
    for name, module in spec.model.named_modules():
        holder = name.rpartition(".")[0]
        # The order of a list says nothing about which of its layers feeds which.
        if isinstance(module, nn.Conv2d | nn.Linear) and not isinstance(
            spec.model.get_submodule(holder), nn.ModuleList
        ):
            last[holder] = name
    ends = set(last.values())
    # A row block of a fused projection ends nothing.
    return {site.name for site, _ in spec.plan if site.block and site.rows is None and site.module in ends}


METHOD: Final = MethodSpec(
    name="difffit",
    place=place_difffit,
    summary="biases, norms and one scale per branch of a block",
    learning_rate_factor=3.0,
)
