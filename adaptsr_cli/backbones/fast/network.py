"""All faster forward passes of a network at once."""

from __future__ import annotations

from torch import nn

from adaptsr_cli.backbones.fast.attention import fuse_attention
from adaptsr_cli.backbones.fast.deferral import defer
from adaptsr_cli.backbones.fast.linear import fuse_pixel_products
from adaptsr_cli.backbones.fast.normalisation import fuse_channel_norms


def fuse(model: nn.Module) -> None:
    """Give the parts of a network that are recognised, and the network itself, the forward passes that are faster."""
    fuse_attention(model)
    fuse_channel_norms(model)
    fuse_pixel_products(model, in_training=defer(model))
