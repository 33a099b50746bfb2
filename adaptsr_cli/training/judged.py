"""What of an output a perceptual judge gets to see: its luminance, where there is texture, through a random window."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

FLAT_LEVELS: Final = 3.0
"""Standard deviation of a neighbourhood, in levels of 255, at which it counts half as flat."""

_NEIGHBOURHOOD_PX: Final = 9
_LUMA: Final = (0.299, 0.587, 0.114)


def luma(images: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, H, W), BT.601."""
    return torch.einsum("bchw,c->bhw", images, images.new_tensor(_LUMA))


def texture(hr: Tensor) -> Tensor:
    """How much texture the true image has at every place, (B, 1, H, W) in [0, 1).

    Args:
        hr: (B, 3, H, W) float32 in [0, 1].
    """
    light = luma(hr)[:, None]
    mean, square = _mean_around(light), _mean_around(light.square())
    variance = (square - mean.square()).clamp_min(0)
    return variance / (variance + (FLAT_LEVELS / 255) ** 2)


def _mean_around(values: Tensor) -> Tensor:
    """The mean of every pixel's neighbourhood, of what is inside the image; the same shape."""
    return avg_pool2d(values, _NEIGHBOURHOOD_PX, 1, _NEIGHBOURHOOD_PX // 2, count_include_pad=False)


def judged(sr: Tensor, hr: Tensor) -> Tensor:
    """The true image with the luminance of the output, where it has texture.

    So the judge asks for no colour, which is left to the losses that compare pixels, and for no detail in a sky.

    Args:
        sr: (B, 3, H, W) float32, not clamped.
        hr: The same shape, in [0, 1].

    Returns:
        The same shape; gradients flow to `sr`.
    """
    return hr + texture(hr) * luma(sr - hr)[:, None]


def random_window(
    height: int, width: int, most_px: int, *, seed: int, iteration: int, purpose: int
) -> tuple[slice, slice]:
    """Rows and columns of a square at a random place, the same whenever a run comes to this iteration.

    Patches begin at whole LR pixels, and a judge with strides would see every output in the same phase.

    Args:
        height: Of the image.
        width: Of the image.
        most_px: Side of the square, less where the image is smaller.
        seed: Of the run.
        iteration: Of the run.
        purpose: Another number gives another place.
    """
    rng = np.random.default_rng((seed, iteration, purpose))
    side = min(most_px, height - height % 2, width - width % 2)
    top, left = (int(rng.integers(0, size - side + 1)) for size in (height, width))
    return slice(top, top + side), slice(left, left + side)
