"""U-Net discriminator of the GAN loss, which judges every pixel."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu
from torch.nn.utils.parametrizations import spectral_norm

FEATURES: Final = 64
MIN_PX: Final = 8

_SLOPE: Final = 0.2


class UNetDiscriminator(nn.Module):
    """A U-Net of three levels with skip connections; all convolutions but the first and last are spectrally normalised.

    The same network as Real-ESRGAN's (4,376,897 parameters with 64 features). Every image side from 8 px will do: the
    way up ends at the size of its skip, not at twice the size below.

    In train mode every forward pass takes one step of the power iteration that estimates the spectral norms; in eval
    mode a forward pass changes nothing.

    Args:
        features: Channels at full resolution; doubled on each of the three levels below.

    Source: Schoenfeld et al. 2020, A U-Net based discriminator for GANs; Wang et al. 2021, Real-ESRGAN, Section 3.3;
    Miyato et al. 2018, Spectral normalization for GANs.
    """

    def __init__(self, features: int = FEATURES) -> None:
        super().__init__()
        widths = [features * factor for factor in (1, 2, 4, 8)]
        steps = list(pairwise(widths))
        self.first = nn.Conv2d(3, features, 3, padding=1)
        self.down = nn.ModuleList(_normalised(near, far, 4, stride=2) for near, far in steps)
        self.up = nn.ModuleList(_normalised(far, near, 3) for near, far in reversed(steps))
        self.refine = nn.ModuleList(_normalised(features, features, 3) for _ in range(2))
        self.last = nn.Conv2d(features, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Judge every pixel.

        Args:
            image: (B, 3, H, W) float32, nominally in [0, 1]; H and W at least 8.

        Returns:
            (B, 1, H, W) logits; positive: taken for a real image.
        """
        signal = leaky_relu(self.first(image), _SLOPE)
        skips = []
        for conv in self.down:
            skips.append(signal)
            signal = leaky_relu(conv(signal), _SLOPE)  # half the size, twice the channels
        for conv, skip in zip(self.up, reversed(skips), strict=True):
            signal = interpolate(signal, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            signal = leaky_relu(conv(signal), _SLOPE) + skip
        for conv in self.refine:
            signal = leaky_relu(conv(signal), _SLOPE)
        logits: Tensor = self.last(signal)
        return logits


def make_discriminator(seed: int, features: int = FEATURES) -> UNetDiscriminator:
    """A new discriminator in eval mode on the CPU whose weights depend on nothing but the seed.

    Args:
        seed: Of its weights; the global random state is the same before and after.
        features: See `UNetDiscriminator`.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the accelerators as well.
        torch.default_generator.manual_seed(seed)
        return UNetDiscriminator(features).eval()


def _normalised(channels_in: int, channels_out: int, kernel_px: int, stride: int = 1) -> nn.Module:
    """A spectrally normalised convolution without bias."""
    conv = nn.Conv2d(channels_in, channels_out, kernel_px, stride=stride, padding=1, bias=False)
    return spectral_norm(conv)
