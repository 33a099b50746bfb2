"""Whether the tele photograph shows anything that the wide one does not.

A digital zoom is a part of the wide photograph, enlarged by some filter, sharpened, and compressed. All but the last is
linear in the wide photograph's pixels, so the pixels about a place predict it: one filter for each of the places
between two pixels, found by least squares, is as good as nearest, bilinear, bicubic and Lanczos at once, with or
without sharpening. What a longer lens has added cannot be predicted so. It is looked for above the Nyquist frequency
of the wide photograph, where neither its noise nor a place that is a little off can be taken for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray, Float32Array

PER_PX: Final = 2
"""Pixels of the finer grid per pixel of the wide photograph: the octave above its Nyquist frequency, at any zoom."""
_REACH: Final = 3  # wide pixels to each side that predict a place between them
_HELD: Final = 1e-3  # grey levels^2: holds taps to 0 where the wide photograph does not tell
# Cycles per fine pixel. The wide photograph's Nyquist frequency is 0.25; from there to 0.3 filters leak much of it.
_BAND: Final = (0.3, 0.5)


@dataclass(frozen=True)
class NewDetail:
    """What the tele photograph shows above the Nyquist frequency of the wide one.

    Attributes:
        share: Power that the wide photograph does not predict over all that is there; about 1 for a longer lens. It
            may be above 1, for a prediction brings power of its own.
        levels: Root of the power that is not predicted, grey levels.
    """

    share: float
    levels: float


def measure_new_detail(low: Float32Array, high: Float32Array) -> NewDetail:
    """Measure on one window.

    Args:
        low: (n, n) brightness of the wide photograph, grey levels, at its own pixels; n is 48 or more.
        high: (2 n, 2 n): the tele photograph's, looked up on a grid of twice as many pixels.
    """
    side = low.shape[0] - 2 * _REACH
    near = np.lib.stride_tricks.sliding_window_view(low, (2 * _REACH + 1, 2 * _REACH + 1)).reshape(side * side, -1)
    known = np.column_stack([near - low.mean(), np.ones(side * side)])
    inner = high[PER_PX * _REACH : -PER_PX * _REACH, PER_PX * _REACH : -PER_PX * _REACH]
    # (side, 2, side, 2) to one column for each of the four places about a wide pixel.
    wanted = inner.reshape(side, PER_PX, side, PER_PX).transpose(0, 2, 1, 3).reshape(side * side, PER_PX**2)
    held = _HELD * side * side * np.eye(known.shape[1])
    taps = np.linalg.solve(known.T @ known + held, known.T @ wanted)
    left = (wanted - known @ taps).reshape(side, side, PER_PX, PER_PX).transpose(0, 2, 1, 3).reshape(inner.shape)
    # As many of the equations as there are taps hold in any case.
    unexplained = _power(left) * len(known) / (len(known) - known.shape[1])
    all_of_it = _power(inner)
    return NewDetail(unexplained / all_of_it if all_of_it > 0 else 0.0, float(np.sqrt(unexplained)))


def _power(plane: AnyArray) -> float:
    """Mean square of what lies in the band, grey levels^2."""
    window = np.outer(np.hanning(plane.shape[0]), np.hanning(plane.shape[0]))
    spectrum = np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2
    frequency = np.fft.fftfreq(plane.shape[0])
    radius = np.hypot(frequency[:, None], frequency[None, :])
    band = (radius >= _BAND[0]) & (radius < _BAND[1])
    return float(spectrum[band].sum() / (window**2).sum() / plane.size)
