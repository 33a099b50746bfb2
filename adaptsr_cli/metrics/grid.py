"""The grid that upsampling may leave: power at the multiples of 1/scale cycles a pixel against the power beside.

Where there is next to no power beside, as in a blurred sky, the ratio says little of what is seen; so the amplitude of
the grid is measured too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from adaptsr_cli.errors import DataError
from adaptsr_cli.metrics.fidelity import luma

BLOCK_PX: Final = 64

# Of uint8: below it a block tells nothing.
_QUANTISATION_POWER: Final = 1 / 12
# Hann's main lobe reaches one bin to either side, so that windows of three bins, three bins apart, share nothing.
_LOBE: Final = 1
_BESIDE: Final = 3


@dataclass(frozen=True)
class GridPower:
    """How much stronger the frequencies of a grid are than those beside; 1 where there is no grid.

    Attributes:
        flat: Over the half of the blocks with less contrast, where a grid is seen.
        textured: Over the other half.
        flat_levels: Root mean square of the grid in levels of 255, beyond what is beside; 0 where there is no more.
        textured_levels: The same of the other half.
    """

    flat: float
    textured: float
    flat_levels: float
    textured_levels: float

    @property
    def mean(self) -> float:
        """Over all blocks."""
        return (self.flat + self.textured) / 2


def measure_grid(image: np.ndarray, period_px: int) -> GridPower:
    """Measure the grid of a period, such as that of an upsampler, which has the period of its scale.

    The power spectra of blocks are averaged, each divided by its own power near the grid's frequencies, so that a faint
    grid in a flat block counts like a strong one in a textured block. Photographs have about 1, more where they were
    saved as JPEG if the period divides 8.

    Args:
        image: (H, W, 3) uint8.
        period_px: Of the grid, at least 2.

    Raises:
        DataError: The image is smaller than two blocks.
    """
    side_px = period_px * round(BLOCK_PX / period_px)  # the frequencies of the grid are then bins
    if min(image.shape[:2]) < side_px or max(image.shape[:2]) < 2 * side_px:
        raise DataError(
            f"an image of {image.shape[1]}x{image.shape[0]} px is too small for its grid to be measured, "
            f"which needs {2 * side_px}x{side_px} px",
            "use larger images or leave this metric out",
        )
    hop_px = side_px // 2
    blocks = sliding_window_view(luma(image), (side_px, side_px))[::hop_px, ::hop_px].reshape(-1, side_px, side_px)
    contrast = blocks.std(axis=(1, 2))
    order = np.argsort(contrast, kind="stable")
    (flat, flat_levels), (textured, textured_levels) = (
        _ratio_and_levels(blocks[half], period_px) for half in np.array_split(order, 2)
    )
    return GridPower(flat, textured, flat_levels, textured_levels)


def _ratio_and_levels(blocks: np.ndarray, period_px: int) -> tuple[float, float]:
    """The power at the grid's frequencies over that beside, and the root mean square of what it is more.

    Args:
        blocks: (N, S, S), S a multiple of the period.
        period_px: Of the grid.
    """
    side = blocks.shape[-1]
    window = np.outer(*2 * [np.hanning(side + 1)[:-1]])  # periodic: its transform has three bins an axis
    centred = (blocks - blocks.mean(axis=(1, 2), keepdims=True)) * window
    power = np.abs(np.fft.fft2(centred)) ** 2 + _QUANTISATION_POWER * np.sum(window**2)

    step = side // period_px
    peaks, besides = [], []
    for row in range(period_px):
        for column in range(period_px):
            if row == column == 0:
                continue
            at = np.array([row * step, column * step])
            # Along the axes themselves photographs are stronger than off them, so what lies beside is on the axis too.
            aside = _BESIDE * np.array([row > 0, column > 0])
            peaks.append(_power_at(power, at))
            besides.append((_power_at(power, at - aside), _power_at(power, at + aside)))
    peak, beside = np.array(peaks), np.array(besides)  # (F, N), (F, 2, N)
    weight = 1 / beside.mean(axis=(0, 1))  # a block's own power
    near = np.exp(np.log((beside * weight).mean(axis=2)).mean(axis=1))
    # The geometric mean is that of a power law in between, which spectra of photographs follow.
    ratio = np.mean((peak * weight).mean(axis=1) / near)
    # A sinusoid lies wholly in the lobe of the window around its frequency (Parseval).
    excess = (peak - np.sqrt(beside[:, 0] * beside[:, 1])).mean(axis=1).sum() * (2 * _LOBE + 1) ** 2
    return float(ratio), float(np.sqrt(max(0.0, excess / (side**2 * np.sum(window**2)))))


def _power_at(power: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Mean power of (N, S, S) spectra in the 3x3 bins around a frequency, (N,)."""
    reach = np.arange(-_LOBE, _LOBE + 1)
    rows, columns = (at[0] + reach) % power.shape[-2], (at[1] + reach) % power.shape[-1]
    mean: np.ndarray = power[:, rows[:, None], columns].mean(axis=(1, 2))
    return mean
