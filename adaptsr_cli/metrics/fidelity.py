"""PSNR and SSIM as MATLAB and the SR literature compute them, and the difference of colours."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import structural_similarity

PEAK: Final = 255.0
SSIM_WINDOW_PX: Final = 11
SSIM_SIGMA_PX: Final = 1.5
CELL_PX: Final = 8

# BT.601 with the limited range of 16 to 235, digits as in MATLAB's rgb2ycbcr.
_LUMA: Final = np.array([65.481, 128.553, 24.966]) / 255.0
_LUMA_OFFSET: Final = 16.0
_GREY: Final = np.array([0.298936021293775, 0.587043074451121, 0.114020904255103])


def luma(rgb: np.ndarray) -> np.ndarray:
    """The Y channel of BT.601 in limited range, not rounded.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (H, W) float64 in [16, 235].
    """
    return rgb.astype(np.float64) @ _LUMA + _LUMA_OFFSET


def grey(rgb: np.ndarray) -> np.ndarray:
    """MATLAB's ``rgb2gray``, by which NIQE's authors and those of SSIM take colour pictures: full range, rounded.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (H, W) float64, whole numbers in [0, 255].
    """
    levels: np.ndarray = np.floor(rgb.astype(np.float64) @ _GREY + 0.5)
    return levels


def single_luma(rgb: np.ndarray) -> np.ndarray:
    """The Y channel as BasicSR computes it: through [0, 1] in float32, which moves it by about 1e-5.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (H, W) float32 in [16, 235].
    """
    unit = rgb.astype(np.float32) / np.float32(255)
    limited = ((unit @ (255 * _LUMA) + _LUMA_OFFSET) / 255).astype(np.float32)
    scaled: np.ndarray = limited * np.float32(255)
    return scaled


def psnr_db(first: np.ndarray, second: np.ndarray) -> float:
    """Peak signal-to-noise ratio over all values, with a peak of 255.

    Args:
        first: Any shape, uint8 or float in [0, 255].
        second: The same shape.

    Returns:
        Decibels; infinity for equal images.
    """
    error = first.astype(np.float64) - second.astype(np.float64)
    mean_square = float(np.mean(error * error))
    return math.inf if mean_square == 0 else 10 * math.log10(PEAK**2 / mean_square)


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Structural similarity: Gaussian window of 11 px and sigma 1.5, no downsampling.

    Only windows that lie wholly inside the image count, and variances are those of the window, not of a sample:
    both as in the original MATLAB code.

    Args:
        first: (H, W), or (H, W, C) for the mean over channels; uint8 or float in [0, 255]; sides of at least 11 px.
        second: The same shape.

    Returns:
        The mean over the image, at most 1.

    Source: Wang et al. 2004, Image quality assessment: from error visibility to structural similarity.
    """
    value = structural_similarity(
        first.astype(np.float64),
        second.astype(np.float64),
        win_size=SSIM_WINDOW_PX,  # the border that is left out
        gaussian_weights=True,  # scikit-image cuts them at 3.5 sigma, which is 11 taps
        sigma=SSIM_SIGMA_PX,
        use_sample_covariance=False,
        data_range=PEAK,
        channel_axis=2 if first.ndim == 3 else None,
    )
    return float(value)


def colour_differences(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """CIEDE2000 of two images, sRGB seen in daylight (D65), and what of it is colour rather than detail.

    Adapting to a camera moves colours, of which PSNR on Y sees nothing. About 1 is what an eye can just tell. Pixel by
    pixel it also counts detail that is missing, or lies elsewhere, as differences of lightness; the other two do not.

    Args:
        first: (H, W, 3) uint8.
        second: The same shape.

    Returns:
        0 for equal images, larger is worse: ``delta_e_2000``, the mean over the pixels; ``delta_e_2000_local``, the
        mean over cells of 8 px of the differences of their mean colours, left out of an image smaller than a cell;
        ``delta_e_2000_chroma``, the mean over the pixels as if the first had the second's lightness.

    Source: Sharma, Wu and Dalal 2005, The CIEDE2000 color-difference formula.
    """
    lab, reference = rgb2lab(first), rgb2lab(second)
    found = {"delta_e_2000": float(np.mean(deltaE_ciede2000(lab, reference)))}
    if min(first.shape[:2]) >= CELL_PX:
        local = deltaE_ciede2000(*(rgb2lab(_cell_means(image)) for image in (first, second)))
        found["delta_e_2000_local"] = float(np.mean(local))
    lab[..., 0] = reference[..., 0]
    return {**found, "delta_e_2000_chroma": float(np.mean(deltaE_ciede2000(lab, reference)))}


def _cell_means(rgb: np.ndarray) -> np.ndarray:
    """Mean colours in [0, 1] of the whole cells of an image, (H / 8, W / 8, 3)."""
    rows, columns = (length // CELL_PX for length in rgb.shape[:2])
    cells = rgb[: rows * CELL_PX, : columns * CELL_PX].reshape(rows, CELL_PX, columns, CELL_PX, 3)
    means: np.ndarray = cells.mean(axis=(1, 3)) / PEAK
    return means
