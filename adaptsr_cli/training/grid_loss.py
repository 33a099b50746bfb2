"""Loss against the grid that the upsampler leaves; `adaptsr_cli.metrics.grid` measures it on pictures.

The last convolution writes every pixel of a cell of the pixel shuffle by filters of its own. An adapter that changes
them, or the features that they see, moves the pixels of a cell apart by a few tenths of a grey level, alike in all
cells around, and a pixel loss hardly sees that beside the detail that no network can know. A perceptual distance even
rewards it.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor
from torch.nn.functional import avg_pool2d, pixel_unshuffle

_AREA_CELLS: Final = 8


def grid_loss(sr: Tensor, hr: Tensor, period_px: int) -> Tensor:
    """L1 of the pattern that an output has in every cell of an area and the true image has not.

    The error at each place in the cell is averaged over areas of 8x8 cells, where detail averages out and a pattern
    does not; what all places have in common is left to other losses. It costs nothing where the output is true, unlike
    a penalty of all power at the grid's frequencies, which true detail has as well.

    Args:
        sr: (B, C, H, W) output, any float type, not clamped; sides are multiples of the period.
        hr: The same shape, float32.
        period_px: Side of a cell, the network's scale.

    Returns:
        A scalar in the unit of the images.
    """
    errors = pixel_unshuffle(sr.float() - hr, period_px)  # (B, C P P, H / P, W / P)
    cells = min(_AREA_CELLS, *errors.shape[-2:])
    means = avg_pool2d(errors, cells, max(1, cells // 2))
    phases = means.unflatten(1, (-1, period_px**2))  # (B, C, P P, h, w)
    loss: Tensor = (phases - phases.mean(dim=2, keepdim=True)).abs().mean()
    return loss
