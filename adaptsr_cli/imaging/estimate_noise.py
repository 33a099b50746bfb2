"""Estimation of noise, from the smallest eigenvalues of patches, or from the flattest blocks of a JPEG."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from adaptsr_cli.arrays import FloatArray, Uint8Array
from adaptsr_cli.imaging.luma import LUMA
from adaptsr_cli.io.images import decode_rgb, encode_jpeg

_PATCH_PX: Final = 5
_MAX_PATCHES: Final = 40_000
# Clipping at black and white makes noise look smaller.
_DARKEST, _BRIGHTEST = 5, 250

_BLOCK_PX: Final = 8
# The flattest blocks show the noise; the very flattest may be an even surface that was painted or clipped.
_FLAT_SHARE: Final = 0.05
_CHART_LEVELS: Final = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0)
_CHART_PX: Final = 256


def is_grey(rgb: Uint8Array) -> bool:
    """Whether all three channels are the same."""
    return bool(np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2]))


def white_noise_levels(rgb: Uint8Array) -> float:
    """The noise of a colour picture whose noise is white and independent between the channels.

    Patches of a natural picture lie near a subspace, all the more as its colours go together; white noise fills the
    other directions evenly. Their variance is found as by Chen, Zhu and Heng (ICCV 2015): of the eigenvalues of the
    patches' covariance the largest are left out until mean and median agree.

    Args:
        rgb: (H, W, 3) uint8, at least 16 px each way.

    Returns:
        Standard deviation in grey levels of 255; rounding to 8 bits alone gives 0.3.
    """
    views = np.lib.stride_tricks.sliding_window_view(rgb, (_PATCH_PX, _PATCH_PX), axis=(0, 1))
    step = max(1, int(np.sqrt(views.shape[0] * views.shape[1] / _MAX_PATCHES)))
    patches = views[::step, ::step].reshape(-1, 3 * _PATCH_PX**2)  # (N, 75)
    inside = (patches.min(axis=1) > _DARKEST) & (patches.max(axis=1) < _BRIGHTEST)
    if np.count_nonzero(inside) > 8 * patches.shape[1]:
        patches = patches[inside]
    eigenvalues = np.linalg.eigvalsh(np.cov(patches.astype(np.float32), rowvar=False))  # ascending
    return float(np.sqrt(max(0.0, _level_off(eigenvalues))))


def _level_off(eigenvalues: FloatArray) -> float:
    """The mean of the most small eigenvalues whose mean is not above their median."""
    for count in range(len(eigenvalues), 0, -1):
        mean = float(eigenvalues[:count].mean())
        if mean <= float(np.median(eigenvalues[:count])):
            return mean
    return float(eigenvalues[0])


def flat_noise_levels(rgb: Uint8Array, quality: int | None) -> float:
    """The noise of a picture that is grey or was stored as JPEG, before it was stored.

    JPEG takes noise out of fine detail and out of colour, so nothing white is left. What remains is read off the
    brightness of the flattest blocks, and compared with what the same file format leaves of known noise on an even
    surface. Where a picture has no flat spot, the answer is too large.

    Args:
        rgb: (H, W, 3) uint8, at least 16 px each way.
        quality: Of the JPEG, 1 to 100; None where there was none.

    Returns:
        Standard deviation in grey levels of 255, each channel; 0 where the file kept no trace.
    """
    seen = _flat_deviation(rgb)
    chart = _noise_chart(quality, is_grey(rgb))
    return float(np.interp(seen, chart, (0.0, *_CHART_LEVELS)))


@cache
def _noise_chart(quality: int | None, grey: bool) -> tuple[float, ...]:
    """What is seen of no noise and of `_CHART_LEVELS` on an even surface that was stored so; rises throughout."""
    seen = []
    rng = np.random.default_rng(0)
    for level in (0.0, *_CHART_LEVELS):
        field = rng.standard_normal((_CHART_PX, _CHART_PX, 1 if grey else 3)) * level + 128
        rgb = np.broadcast_to(np.clip(np.rint(field), 0, 255), (_CHART_PX, _CHART_PX, 3)).astype(np.uint8)
        seen.append(_flat_deviation(rgb if quality is None else decode_rgb(encode_jpeg(rgb, quality))))
    # Where JPEG leaves nothing of several levels, the largest of them is as good a guess as any below it.
    return tuple(float(value) for value in np.maximum.accumulate(seen) + 1e-6 * np.arange(len(seen)))


def _flat_deviation(rgb: Uint8Array) -> float:
    """How far brightness departs from a plane in the flattest blocks, in grey levels."""
    brightness = rgb.astype(np.float32) @ LUMA  # (H, W)
    views = np.lib.stride_tricks.sliding_window_view(brightness, (_BLOCK_PX, _BLOCK_PX))[::4, ::4]
    blocks = views.reshape(-1, _BLOCK_PX**2)  # (N, 64)
    means = blocks.mean(axis=1)
    inside = (means > 4 * _DARKEST) & (means < _BRIGHTEST - 3 * _DARKEST)
    if np.count_nonzero(inside) > 64:
        blocks, means = blocks[inside], means[inside]
    slope = (np.arange(_BLOCK_PX, dtype=np.float32) - (_BLOCK_PX - 1) / 2).repeat(_BLOCK_PX)
    slope /= np.linalg.norm(slope)
    across = slope.reshape(_BLOCK_PX, _BLOCK_PX).T.ravel()
    rest = np.square(blocks - means[:, None]).sum(axis=1) - (blocks @ slope) ** 2 - (blocks @ across) ** 2
    deviations = np.sqrt(np.maximum(0, rest) / (_BLOCK_PX**2 - 3))
    return float(np.quantile(deviations, _FLAT_SHARE))
