"""Filtering by a camera's transfer function, as a whole picture or by a kernel."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Final

import numpy as np
from scipy import fft

from adaptsr_cli.artifacts.transfer import TransferFunction

Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64

# Beyond so many standard deviations a Gaussian in float32 adds nothing that could be seen in 8 bits.
_REACH: Final = 4.0


def apply_transfer(transfer: TransferFunction, image: Floats) -> Floats:
    """Filter a picture, its border continued outwards. No value is clipped: sharpening overshoots.

    Args:
        transfer: The function.
        image: (H, W) or (H, W, C) on the HR grid, any range.

    Returns:
        The same shape, float32.
    """
    planes = image.astype(np.float32)
    if transfer.is_identity:
        return planes
    margin = math.ceil(_REACH * math.hypot(transfer.blur_px, transfer.radius_px if transfer.sharpening else 0)) + 1
    widths = ((margin, margin), (margin, margin), (0, 0))[: planes.ndim]
    padded = np.pad(planes, widths, mode="edge")
    shape = [fft.next_fast_len(length, real=True) for length in padded.shape[:2]]
    gain = _gain_on_grid(transfer, shape[0], shape[1])
    spectrum = fft.rfft2(padded, s=shape, axes=(0, 1))
    spectrum *= gain if planes.ndim == 2 else gain[..., None]
    filtered = fft.irfft2(spectrum, s=shape, axes=(0, 1))
    rows, columns = (slice(margin, margin + length) for length in planes.shape[:2])
    return np.ascontiguousarray(filtered[rows, columns], dtype=np.float32)


def kernel_of(transfer: TransferFunction) -> Floats:
    """The same as a kernel for `degrade.blur`: (k, k) float64 of sum 1, k odd, some weights negative."""
    reach = math.hypot(transfer.blur_px, transfer.radius_px if transfer.sharpening else 0)
    size_px = 2 * max(1, math.ceil(_REACH * reach)) + 1
    # Transformed on a grid twice as wide and cut out, so that the tails do not come in from the other side.
    length = fft.next_fast_len(2 * size_px)
    f = np.fft.fftfreq(length)
    whole = np.fft.fftshift(np.fft.ifft2(transfer.at_2d(f[:, None], f[None])).real)
    first = length // 2 - size_px // 2
    kernel: Floats = whole[first : first + size_px, first : first + size_px]
    kernel /= kernel.sum()
    return kernel


@lru_cache(maxsize=4)
def _gain_on_grid(function: TransferFunction, height: int, width: int) -> Floats:
    """Over the half plane of a real transform: as dear as the transform itself, and the same for a whole folder."""
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    gain: Floats = function.at_2d(fy, fx).astype(np.float32)
    gain.setflags(write=False)
    return gain
