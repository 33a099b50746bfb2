"""Discriminator of the GAN loss: a few convolutions at half the resolution, which judge every place by its texture."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pixel_unshuffle
from torch.nn.utils.parametrizations import spectral_norm

FEATURES: Final = 24

_FOLD: Final = 2
_DEPTH: Final = 3
_SLOPE: Final = 0.2


class PatchDiscriminator(nn.Module):
    """Spectrally normalised convolutions on 2x2 pixels folded into channels; each judgement sees 18x18 pixels.

    Texture is what a GAN is here for, and that is small; the colours and the layout of a picture the other losses hold.
    So it needs no wider view, and a step costs a fiftieth of that of Real-ESRGAN's U-Net, with which a short run on a
    CPU gets nowhere.

    In train mode every forward pass takes one step of the power iteration that estimates the spectral norms; in eval
    mode a forward pass changes nothing.

    Args:
        features: Channels of its convolutions.

    Source: Isola et al. 2017, Image-to-image translation with conditional adversarial networks (PatchGAN); Miyato et
    al. 2018, Spectral normalization for GANs.
    """

    def __init__(self, features: int = FEATURES) -> None:
        super().__init__()
        self.first = nn.Conv2d(3 * _FOLD**2, features, 3, padding=1)
        self.middle = nn.ModuleList(
            spectral_norm(nn.Conv2d(features, features, 3, padding=1)) for _ in range(_DEPTH - 1)
        )
        self.last = nn.Conv2d(features, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Judge every place.

        Args:
            image: (B, 3, H, W) float32, nominally in [0, 1]; H and W even.

        Returns:
            (B, 1, H / 2, W / 2) logits; the larger, the rather it is taken for real.
        """
        signal = leaky_relu(self.first(pixel_unshuffle(image - 0.5, _FOLD)), _SLOPE)
        for conv in self.middle:
            signal = leaky_relu(conv(signal), _SLOPE)
        logits: Tensor = self.last(signal)
        return logits


def make_discriminator(seed: int, features: int = FEATURES) -> PatchDiscriminator:
    """A new discriminator in eval mode on the CPU whose weights depend on nothing but the seed.

    Args:
        seed: Of its weights; the global random state is the same before and after.
        features: See `PatchDiscriminator`.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the accelerators as well.
        torch.default_generator.manual_seed(seed)
        return PatchDiscriminator(features).eval()
