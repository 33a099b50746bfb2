"""Full fine-tuning of the planned sites: W' = W0 + D with a D of the weight's own shape.

Trainable parameters: the sum of the weights of the sites whose rank is at least 1. Which sites these are is all that
the budget decides here; this is the reference that the other methods are measured against, not a rival at equal cost.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import AdapterLayout, AdapterPlacement, AdapterSpec, MethodSpec, SiteAdapter


class FullUpdate(SiteAdapter):
    """An unrestricted update of one site.

    Attributes:
        delta: The update D in the shape of the site; zero at the start.
    """

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.delta = nn.Parameter(torch.zeros(site.shape))

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """W0 + D."""
        return weight + self.delta.to(weight.dtype)


def place_full(spec: AdapterSpec) -> AdapterLayout:
    """Place an unrestricted update at every planned site."""
    return AdapterLayout(tuple(AdapterPlacement.at(site, FullUpdate(site)) for site, _ in spec.plan))


METHOD: Final = MethodSpec(
    name="full",
    place=place_full,
    summary="the whole weights of the planned sites",
)
