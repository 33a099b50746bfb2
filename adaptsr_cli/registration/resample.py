"""The tele photograph brought onto an exact multiple of LR's grid: the only resampling that HR undergoes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.registration.geometry import Mapping, Region, look_up
from adaptsr_cli.registration.opencv import Kernel, filter_separably, sample
from adaptsr_cli.registration.planes import levels

KERNEL: Final[Kernel] = "lanczos4"
"""By ``benchmarks/pair_resampling.py``: at a ratio of 1 it keeps 98 % of the power between 0.25 and 0.45 cycles a pixel
(cubic 89 %) and is 1.3 dB nearer to the truth than cubic; a quintic spline is 0.15 dB nearer still, and much slower."""
_LOBES: Final = 3
_MARGIN_PX: Final = 16
# A grid that is coarser by less than this loses less to aliasing than to a filter against it.
_MOST_UNFILTERED: Final = 1.1


@dataclass(frozen=True)
class Renderer:
    """Cuts blocks of HR out of a tele photograph.

    Attributes:
        tele: (H, W, 3) uint8 or uint16.
        mapping: From LR to tele.
        scale: HR pixels per LR pixel.
        kernel: How to interpolate.
    """

    tele: AnyArray
    mapping: Mapping
    scale: int
    kernel: Kernel = KERNEL

    def render(self, region: Region) -> AnyArray:
        """HR of a region of LR: (scale * height, scale * width, 3) float32, grey levels, not clipped."""
        # Tele pixels per HR pixel: above 1 the new grid is coarser, and what it cannot hold is taken out first.
        zoom = float(
            self.mapping.zoom_at(np.array([[region.left + region.width / 2, region.top + region.height / 2]]))[0]
        )
        return self.look(look_up(self.mapping, region, per_px=self.scale), zoom / self.scale)

    def look(self, places: AnyArray, ratio: float) -> AnyArray:
        """The tele photograph at places (h, w, 2) in its pixels, `ratio` apart: (h, w, 3) float32, grey levels."""
        low = np.floor(places.min(axis=(0, 1))).astype(int) - _MARGIN_PX
        high = np.ceil(places.max(axis=(0, 1))).astype(int) + 1 + _MARGIN_PX
        left, top = (int(value) for value in np.maximum(low, 0))
        right, bottom = (int(value) for value in np.minimum(high, [self.tele.shape[1], self.tele.shape[0]]))
        cut = levels(self.tele[top:bottom, left:right])
        if ratio > _MOST_UNFILTERED:
            cut = filter_separably(cut, low_pass(ratio))
        return sample(cut, places - np.array([left, top], np.float32), self.kernel)


def low_pass(ratio: float) -> AnyArray:
    """Taps of a low-pass that leaves what a grid coarser by `ratio` can hold: Lanczos's windowed sinc."""
    reach = int(np.ceil(_LOBES * ratio))
    at = np.arange(-reach, reach + 1) / ratio
    taps = np.where(np.abs(at) < _LOBES, np.sinc(at) * np.sinc(at / _LOBES), 0)
    normal: AnyArray = (taps / taps.sum()).astype(np.float32)
    return normal


def detail_ratio(hr: AnyArray, scale: int) -> float:
    """How much detail HR holds that LR's grid cannot: power of the octave above LR's Nyquist frequency over that below.

    Photographs have about the same power in every octave, so a sharp one says about 1, one that holds no more than its
    LR side about 0. What noise adds is taken off: its power is read in HR's corners of the spectrum.

    Args:
        hr: (h, w) brightness, square.
        scale: HR pixels per LR pixel.
    """
    side = min(hr.shape)
    window = np.hanning(side)
    plane = hr[:side, :side] - hr[:side, :side].mean()
    power = np.abs(np.fft.fftshift(np.fft.fft2(plane * np.outer(window, window)))) ** 2
    frequency = np.fft.fftshift(np.fft.fftfreq(side))
    radius = np.hypot(frequency[:, None], frequency[None, :])
    nyquist = 0.5 / scale
    noise = float(np.median(power[radius > 0.6]))
    above = (power[(radius >= nyquist) & (radius < min(2 * nyquist, 0.5))] - noise).sum()
    below = (power[(radius >= nyquist / 2) & (radius < nyquist)] - noise).sum()
    return float(max(above, 0.0) / below) if below > 0 else 0.0
