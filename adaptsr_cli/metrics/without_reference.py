"""No-reference sharpness and noise, for photographs without ground truth."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from adaptsr_cli.errors import DataError
from adaptsr_cli.imaging.estimate_blur import blur_px
from adaptsr_cli.imaging.estimate_noise import flat_noise_levels

METRICS: Final = ("sharpness", "noise")
_MIN_PX: Final = 16


def score_alone(image: np.ndarray, metrics: Collection[str]) -> dict[str, float]:
    """How soft and how noisy a picture is, by the estimators that measure cameras.

    The two belong together: noise makes edges look sharp, and smoothing takes both away. Neither tells whether what is
    sharp is true. The noise is read off the flattest blocks and not off single pixels, since what a network makes of
    noise is not white any more.

    Args:
        image: (H, W, 3) uint8.
        metrics: Names of `METRICS`; others are passed over.

    Returns:
        ``blur_px``, the standard deviation of the Gaussian that would make a sharp picture as soft, left out where
        the picture has too few edges to tell; ``noise_levels``, a standard deviation in grey levels of 255.

    Raises:
        DataError: The picture is too small.
    """
    if not any(name in metrics for name in METRICS):
        return {}
    if min(image.shape[:2]) < _MIN_PX:
        raise DataError(
            f"an image of {image.shape[1]}x{image.shape[0]} px is too small for sharpness and noise",
            f"use images of at least {_MIN_PX} px",
        )
    noise_levels = flat_noise_levels(image, None)
    scores: dict[str, float] = {}
    if "sharpness" in metrics and (blur := blur_px(image, noise_levels)) is not None:
        scores["blur_px"] = blur
    if "noise" in metrics:
        scores["noise_levels"] = noise_levels
    return scores
