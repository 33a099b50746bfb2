"""MS-SSIM: structural similarity over five scales.

Own code, since scikit-image has SSIM at one scale only.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d

from adaptsr_cli.metrics.fidelity import PEAK, SSIM_SIGMA_PX, SSIM_WINDOW_PX

# Of the scales from the finest; they add up to 1.
WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_LUMINANCE: Final = (0.01 * PEAK) ** 2
_CONTRAST: Final = (0.03 * PEAK) ** 2

# The window must fit into the coarsest scale.
MIN_PX: Final = SSIM_WINDOW_PX * 2 ** (len(WEIGHTS) - 1)


def ms_ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Multi-scale structural similarity: contrast and structure at five scales, luminance at the coarsest.

    The window is that of `adaptsr_cli.metrics.fidelity.ssim`; every scale is the mean of 2x2 px of the one before. A
    negative correlation of a scale counts as none, since its power is not real.

    Args:
        first: (H, W), or (H, W, C) for the mean over channels; uint8 or float in [0, 255]; sides of at least
            `MIN_PX`.
        second: The same shape.

    Returns:
        At most 1.

    Source: Wang, Simoncelli and Bovik 2003, Multiscale structural similarity for image quality assessment, Eq. 7.
    """
    powers = torch.tensor(WEIGHTS, dtype=torch.float64)
    return float((scale_terms(first, second).clamp(min=0) ** powers).prod(dim=1).mean())


def scale_terms(first: np.ndarray, second: np.ndarray) -> Tensor:
    """Contrast times structure at the five scales, from the finest; the coarsest times luminance.

    Args:
        first: As for `ms_ssim`.
        second: The same shape.

    Returns:
        (C, 5) float64, which `ms_ssim` joins.
    """
    x, y = _planes(first), _planes(second)
    terms = []
    for scale in range(len(WEIGHTS)):
        if scale:
            x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
        luminance, contrast_structure = _compare(x, y)
        coarsest = scale == len(WEIGHTS) - 1
        term = luminance * contrast_structure if coarsest else contrast_structure
        terms.append(term.mean(dim=(1, 2, 3)))
    return torch.stack(terms, dim=1)


def _planes(image: np.ndarray) -> Tensor:
    """(H, W) or (H, W, C) to (C, 1, H, W) float64."""
    planes = image[..., None] if image.ndim == 2 else image
    return torch.from_numpy(np.ascontiguousarray(planes.transpose(2, 0, 1), dtype=np.float64))[:, None]


def _compare(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure, of every window inside the planes: (C, 1, H - 10, W - 10) each."""
    offsets = torch.arange(SSIM_WINDOW_PX, dtype=torch.float64) - SSIM_WINDOW_PX // 2
    line = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA_PX**2))
    line = line / line.sum()

    def blur(planes: Tensor) -> Tensor:
        return conv2d(conv2d(planes, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))

    mean_x, mean_y = blur(x), blur(y)
    variances = blur(x * x) - mean_x**2 + blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _LUMINANCE) / (mean_x**2 + mean_y**2 + _LUMINANCE)
    return luminance, (2 * covariance + _CONTRAST) / (variances + _CONTRAST)
