"""Estimation of the JPEG quality of a picture, from the file's tables or from traces in the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from adaptsr_cli.arrays import BoolArray, FloatArray, Int64Array, Uint8Array
from adaptsr_cli.imaging.luma import LUMA

# The luma table of the standard (ITU-T T.81, Table K.1), which the Independent JPEG Group scales by quality.
_STANDARD: Final = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
# The frequencies that natural pictures fill enough to be counted.
_FREQUENCIES: Final = tuple((u, v) for u in range(7) for v in range(7) if 0 < u + v <= 6)
# What rounding to 8-bit RGB and back leaves as error of a coefficient of brightness.
_ROUNDING: Final = 0.35
_STRAY_SHARE: Final = 0.05
_SMALLEST: Final = 1.5
_MIN_COEFFICIENTS: Final = 200
_MAX_BLOCKS: Final = 4096
_GRID_PX: Final = 256
# Mean log-likelihood ratio per coefficient; pictures that were never a JPEG give -0.19, quality 97 gives 0 and more.
_PROOF: Final = -0.05


def quality_of_table(luma: Sequence[int]) -> int:
    """The quality whose standard table is nearest to a file's table.

    Args:
        luma: The 64 steps of the table for brightness, row by row.

    Returns:
        1 to 100, on the scale of the Independent JPEG Group.
    """
    given = np.log(np.maximum(1, np.asarray(luma, float).reshape(8, 8)))
    return int(np.abs(np.log(_tables()) - given).mean(axis=(1, 2)).argmin()) + 1


def find_jpeg_quality(rgb: Uint8Array) -> int | None:
    """The quality of the JPEG file that a picture was decoded from, by the steps of its coefficients.

    For each quality, the likelihood that the coefficients of brightness lie at multiples of its steps is compared with
    that of lying anywhere (after Fan and de Queiroz 2003). Only tables as the Independent JPEG Group scales them are
    recognised, and only where the picture was neither resized nor noised afterwards; it may have been cropped.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        1 to 97; None where no trace is found. Above 97 the steps are too fine to be seen.
    """
    brightness = rgb.astype(np.float32) @ LUMA  # (H, W)
    clipped = (rgb.min(axis=2) == 0) | (rgb.max(axis=2) == 255)
    found = _rate(_coefficients(brightness, clipped))
    if found is None:
        top, left = _find_grid(brightness, clipped)
        found = _rate(_coefficients(brightness[top:, left:], clipped[top:, left:]))
    return found


def _find_grid(brightness: FloatArray, clipped: BoolArray) -> tuple[int, int]:
    """Where the first block of a cropped picture begins: there most coefficients of fine detail are zero."""

    def count_zeros(place: tuple[int, int]) -> float:
        top, left = place
        part = slice(top, top + _GRID_PX), slice(left, left + _GRID_PX)
        fine = _coefficients(brightness[part], clipped[part])[:, 4:, 4:]
        return float((np.abs(fine) < _SMALLEST / 2).mean()) if len(fine) else 0.0

    return max(((top, left) for top in range(8) for left in range(8)), key=count_zeros)


def _coefficients(brightness: FloatArray, clipped: BoolArray) -> FloatArray:
    """The DCT of up to `_MAX_BLOCKS` blocks, those with clipped pixels left out: (N, 8, 8)."""
    height, width = (length // 8 * 8 for length in brightness.shape)
    blocks = brightness[:height, :width].reshape(height // 8, 8, width // 8, 8).transpose(0, 2, 1, 3).reshape(-1, 8, 8)
    spoilt = clipped[:height, :width].reshape(height // 8, 8, width // 8, 8).any(axis=(1, 3)).ravel()
    blocks = blocks[~spoilt]
    blocks = blocks[:: max(1, len(blocks) // _MAX_BLOCKS)]
    frequency, place = np.arange(8)[:, None], np.arange(8)[None]
    basis = np.cos((2 * place + 1) * frequency * np.pi / 16) / 2
    basis[0] /= np.sqrt(2)
    transformed: FloatArray = np.einsum("ui,nij,vj->nuv", basis, blocks, basis, optimize=True)
    return transformed


def _rate(coefficients: FloatArray) -> int | None:
    """The likeliest quality of (N, 8, 8) coefficients, or None."""
    tables = _tables()
    steps = np.arange(1, int(tables.max()) + 1)
    gains, count = np.zeros(len(tables)), 0
    for u, v in _FREQUENCIES:
        values = coefficients[:, u, v]
        values = values[np.abs(values) > _SMALLEST, None]  # zeros fit every step and tell nothing
        if len(values) == 0:
            continue
        off = values - steps * np.rint(values / steps)  # (N, steps)
        peak = np.exp(-0.5 * (off / _ROUNDING) ** 2) / (_ROUNDING * np.sqrt(2 * np.pi))
        # Density if quantised, a few strays allowed, over the density if not: that is 1 / step.
        gain = np.log((1 - _STRAY_SHARE) * peak * steps + _STRAY_SHARE).sum(axis=0)  # (steps,)
        gains += gain[tables[:, u, v] - 1]
        count += len(values)
    if count < _MIN_COEFFICIENTS or gains.max() / count < _PROOF:
        return None
    return int(gains.argmax()) + 1


def _tables() -> Int64Array:
    """The luma tables of qualities 1 to 100: (100, 8, 8)."""
    percents = [5000 // quality if quality < 50 else 200 - 2 * quality for quality in range(1, 101)]
    return np.stack([np.clip((_STANDARD * percent + 50) // 100, 1, 255) for percent in percents])
