"""The weights of the sites made differentiable for a while: what every criterion by gradients begins and ends with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.backbones.backbone import Backbone, set_differentiable


@contextmanager
def site_weights(backbone: Backbone, sites: Sequence[Site]) -> Iterator[Mapping[str, nn.Parameter]]:
    """Within this block only the sites' weights take gradients; afterwards nothing does, and none is left.

    Args:
        backbone: The network; its weights are not changed.
        sites: What is measured.

    Returns:
        The weights by module name; the row blocks of a fused projection share one.
    """
    weights = {site.module: backbone.model.get_parameter(f"{site.module}.weight") for site in sites}
    backbone.model.requires_grad_(False)
    backbone.model.zero_grad(set_to_none=True)
    for weight in weights.values():
        weight.requires_grad_(True)
    set_differentiable(backbone, True)
    try:
        yield weights
    finally:
        backbone.model.zero_grad(set_to_none=True)
        backbone.model.requires_grad_(False)
        set_differentiable(backbone, False)
