"""Penalty of the grid that the upsampler leaves, for training; `adaptsr_cli.metrics.grid` measures it on pictures.

A perceptual distance rewards fine detail of any shape, and that which a network adds with the fewest changes is one
pattern in every cell of its pixel shuffle, stronger where there is contrast: a grid of the period of its scale.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

_BLOCK_PX: Final = 64
_BESIDE: Final = 3  # bins of the window's main lobe share nothing with those three bins aside
# Of rounding to 256 levels: a grid below it is not seen.
_LEAST_POWER: Final = 1 / 12 / 255**2


def grid_loss(luma: Tensor, period_px: int) -> Tensor:
    """How much stronger the frequencies of the grid are than those beside, mean over frequencies and blocks.

    It can be made smaller by noise beside the grid's frequencies too, which a large weight brings about: keep it small.
    Without a gradient through what lies beside, on the other hand, an adapter loses its detail together with the grid.

    Args:
        luma: (B, H, W) float32, nominally in [0, 1].
        period_px: Of the grid.

    Returns:
        A scalar, the mean of the logarithms above 0; 0 where a block does not fit into the image.
    """
    side = period_px * round(_BLOCK_PX / period_px)  # the frequencies of the grid are then bins
    if min(luma.shape[-2:]) < side:
        return luma.new_zeros(())
    blocks = luma.unfold(1, side, side // 2).unfold(2, side, side // 2).reshape(-1, side, side)
    hann = torch.hann_window(side, periodic=True, device=luma.device)
    window = torch.outer(hann, hann)
    centred = (blocks - blocks.mean(dim=(1, 2), keepdim=True)) * window
    power = torch.fft.fft2(centred).abs().square() + _LEAST_POWER * window.square().sum()  # (N, S, S)
    # The power in the lobe around each frequency.
    lobes = avg_pool2d(pad(power[:, None], (1, 1, 1, 1), mode="circular"), 3, stride=1)[:, 0]

    step = side // period_px
    places = [(row * step, column * step) for row in range(period_px) for column in range(period_px)][1:]
    rows, columns = torch.tensor(places, device=luma.device).unbind(dim=1)
    # On the axes photographs are stronger than off them, so what lies beside is on the axis too.
    aside_rows, aside_columns = _BESIDE * (rows > 0), _BESIDE * (columns > 0)
    peak = lobes[:, rows, columns]  # (N, F)
    before = lobes[:, rows - aside_rows, columns - aside_columns]
    after = lobes[:, (rows + aside_rows) % side, (columns + aside_columns) % side]
    return (peak.log() - (before.log() + after.log()) / 2).relu().mean()
