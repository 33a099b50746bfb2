"""BitFit (Ben Zaken et al. 2022): only the biases of the planned layers train.

Trainable parameters: the sum of the output channels of the planned sites whose layer has a bias. One rank costs at
least as much at each of them, so the budget always covers it.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import AdapterLayout, AdapterPlacement, AdapterSpec, MethodSpec, SiteAdapter, require_any


class BiasUpdate(SiteAdapter):
    """An update of the bias of one site.

    Attributes:
        bias_delta: (out,); zero at the start.
    """

    changes = ("bias",)

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.bias_delta = nn.Parameter(torch.zeros(site.shape[0]))

    def adapt_bias(self, bias: Tensor) -> Tensor:
        """b0 + d."""
        return bias + self.bias_delta.to(bias.dtype)


def place_bitfit(spec: AdapterSpec) -> AdapterLayout:
    """Place a bias update at every planned site whose layer has a bias.

    Raises:
        ArtifactError: No planned layer has one.
    """
    placements = [AdapterPlacement.at(site, BiasUpdate(site)) for site, _ in spec.plan if spec.has_bias(site)]
    return AdapterLayout(require_any(placements, "a bias"))


METHOD: Final = MethodSpec(
    name="bitfit",
    place=place_bitfit,
    summary="the biases of the planned layers",
    learning_rate_factor=10.0,
)
