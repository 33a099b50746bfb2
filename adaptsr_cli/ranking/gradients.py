"""Gradients of the weights of the sites: set-up and clean-up, which all criteria by gradients have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.backbones.backbone import Backbone, set_differentiable


@contextmanager
def site_weights(backbone: Backbone, sites: Sequence[Site]) -> Iterator[Mapping[str, nn.Parameter]]:
    """Let only the weights of the sites take gradients within this block; afterwards nothing does, and none is left.

    Args:
        backbone: The network; its weights are not changed.
        sites: The sites to measure.

    Yields:
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
