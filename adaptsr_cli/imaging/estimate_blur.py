"""Estimation of blur, as the standard deviation of the Gaussian that would make a sharp picture as soft."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch

from adaptsr_cli.arrays import FloatArray, Uint8Array
from adaptsr_cli.imaging.degrade import blur
from adaptsr_cli.imaging.kernels import shaped_kernel
from adaptsr_cli.imaging.luma import LUMA

# The finer of the two further blurs, in pixels (the coarser has twice that), and the variance, in square pixels, that a
# sharp picture seems to have by it: lines that lie near one another count as edges, and are sharper than those. Softer
# edges need the second row, which noise disturbs less. From twenty photographs that were halved in size, so that they
# are as sharp as their pixels, and then blurred by known Gaussians.
_FINE_PX_AND_SHARP: Final = ((0.7, 0.05), (1.4, -1.0))
_GAIN: Final = 1.21
_ENOUGH_PX: Final = 1.2
_STRONG_SHARE: Final = 0.3
_ABOVE_NOISE: Final = 10
_MIN_EDGES: Final = 30


def blur_px(rgb: Uint8Array, noise_levels: float) -> float | None:
    """The blur of a picture from the widths of its strong edges.

    At an edge the gradient after two further blurs of known width tells how wide the edge was before (Zhuo and Sim
    2011). Half of the strong edges are sharper than the answer.

    Args:
        rgb: (H, W, 3) uint8.
        noise_levels: Its noise, in grey levels; edges have to rise well above it.

    Returns:
        Standard deviation in pixels, 0 for a sharp picture; None where there are too few edges.
    """
    brightness = rgb.astype(np.float32) @ LUMA
    found: float | None = None
    for fine_px, sharp in _FINE_PX_AND_SHARP:
        variance = _edge_variance(brightness, fine_px, noise_levels)
        if variance is None:
            continue
        found = math.sqrt(max(0.0, _GAIN * (variance - sharp)))
        if found < _ENOUGH_PX:
            break
    return found


def _edge_variance(brightness: FloatArray, fine_px: float, noise_levels: float) -> float | None:
    """The median variance of the strong edges, in square pixels, or None; below 0 where lines outnumber edges."""
    across, down = _gradient(brightness, fine_px)
    fine = np.hypot(across, down)
    coarse = np.hypot(*_gradient(brightness, 2 * fine_px))
    centre = fine[1:-1, 1:-1]
    beside = np.where(
        (np.abs(across) >= np.abs(down))[1:-1, 1:-1],
        np.maximum(fine[1:-1, :-2], fine[1:-1, 2:]),
        np.maximum(fine[:-2, 1:-1], fine[2:, 1:-1]),
    )
    crests = centre >= beside
    fine, coarse = centre[crests], coarse[1:-1, 1:-1][crests]
    if len(fine) < _MIN_EDGES:
        return None
    # The gradient of white noise after a Gaussian of this width, each direction.
    noise = max(noise_levels, 0.3) / (math.sqrt(8 * math.pi) * fine_px**2)
    strong = fine >= max(float(np.quantile(fine, 1 - _STRONG_SHARE)), _ABOVE_NOISE * noise)
    if np.count_nonzero(strong) < _MIN_EDGES:
        return None
    ratio = np.square(fine[strong] / np.maximum(coarse[strong], 1e-6))
    ratio = np.maximum(ratio, 1.02)  # no edge grows by being blurred; such a point is as soft as can be told
    return float(np.median((4 - ratio) * fine_px**2 / (ratio - 1)))


def _gradient(brightness: FloatArray, sigma_px: float) -> tuple[FloatArray, FloatArray]:
    """Along x and along y, of the picture blurred by a Gaussian."""
    kernel = shaped_kernel(2 * math.ceil(4 * sigma_px) + 1, sigma_px, sigma_px, 0.0)
    smooth = blur(torch.from_numpy(brightness)[None], kernel)[0].numpy()
    down, across = np.gradient(smooth)
    return across, down
