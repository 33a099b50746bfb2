"""The first witness of a camera's transfer function: radial power spectra of photographs.

A blur lowers the fine end of the spectrum, sharpening lifts its middle. Scenes differ too, in slope above all; how much
they do, and along which shapes, is measured over the sharp photographs, and weighs the frequencies (see
`from_photographs`).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64

WINDOW_PX: Final = 48
"""Side of the windows, in LR pixels; frequencies are multiples of 1/48 cycle per pixel."""

# Below 2/48 the window itself leaks into the band, above 22/48 the corners of the reduction's stop band do.
_LOWEST, _HIGHEST = 2, 22
# Rings of frequency are put together where the function changes little: each band's first ring, and the end.
_BAND_STARTS: Final = (2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 23)
_HANN: Final = np.hanning(WINDOW_PX + 1)[:-1]
_MOST_WINDOWS: Final = 64


def _ring_numbers() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Of every cell of a window's half spectrum, the band that it belongs to; the last number is none."""
    down = np.fft.fftfreq(WINDOW_PX) * WINDOW_PX
    along = np.fft.rfftfreq(WINDOW_PX) * WINDOW_PX
    ring = np.rint(np.hypot(down[:, None], along[None])).astype(np.int64)
    band = np.searchsorted(_BAND_STARTS, ring, side="right") - 1
    band[(ring < _LOWEST) | (ring > _HIGHEST)] = len(_BAND_STARTS) - 1
    flat: np.ndarray[Any, np.dtype[np.int64]] = band.ravel()
    return flat


_BAND_OF: Final = _ring_numbers()
_CELLS: Final = np.bincount(_BAND_OF, minlength=len(_BAND_STARTS))[:-1]

BANDS: Final = len(_BAND_STARTS) - 1
"""How many bands a spectrum has."""

FREQUENCIES: Final[Floats] = (
    np.bincount(
        _BAND_OF,
        np.hypot(
            np.fft.fftfreq(WINDOW_PX)[:, None] + np.zeros(WINDOW_PX // 2 + 1), np.fft.rfftfreq(WINDOW_PX)[None]
        ).ravel(),
        minlength=len(_BAND_STARTS),
    )[:-1]
    / _CELLS
)
"""The mean frequency of each band, in cycles per LR pixel: (BANDS,)."""


def band_power(brightness: Floats) -> Floats:
    """The power of each band, averaged over the directions and over Hann windows that overlap by half.

    Args:
        brightness: (H, W) in grey levels, at least `WINDOW_PX` each way.

    Returns:
        (BANDS,) in squared grey levels, scaled so that white noise of variance v gives v in each band.

    Raises:
        ValueError: The picture is smaller than a window.
    """
    if min(brightness.shape) < WINDOW_PX:
        raise ValueError(f"{brightness.shape} is smaller than a window of {WINDOW_PX} px")
    step = WINDOW_PX // 2
    views = np.lib.stride_tricks.sliding_window_view(brightness, (WINDOW_PX, WINDOW_PX))[::step, ::step]
    windows = views.reshape(-1, WINDOW_PX, WINDOW_PX)
    windows = windows[:: -(-len(windows) // _MOST_WINDOWS)].astype(np.float64)
    windows = windows - windows.mean(axis=(1, 2), keepdims=True)
    spectra = np.fft.rfft2(windows * _HANN[:, None] * _HANN[None])
    power = (np.square(spectra.real) + np.square(spectra.imag)).mean(axis=0).ravel()
    # A window of weights w passes the share mean(w^2) of the power of white noise.
    passed = np.square(_HANN).sum() ** 2
    means: Floats = np.bincount(_BAND_OF, power, minlength=len(_BAND_STARTS))[:-1] / _CELLS / passed
    return means
