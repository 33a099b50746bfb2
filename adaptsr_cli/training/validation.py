"""The held-out score that training watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from adaptsr_cli.metrics.protocol import PAPER, score_images


class PairSource(Protocol):
    """Where held-out pairs come from."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One pair: lr (h, w, 3) and hr (s h, s w, 3), uint8."""


MOST_IMAGES = 16
MOST_LR_PX = 128


class Validator:
    """Scores the network on the centres of at most 16 held-out images.

    The crop bounds the time that validation takes away from training; `adaptsr eval` scores whole images.

    Args:
        source: The held-out pairs.
        scale: Upscaling factor.
    """

    def __init__(self, source: PairSource, scale: int) -> None:
        count = min(len(source), MOST_IMAGES)
        indices = sorted({round(position) for position in np.linspace(0, len(source) - 1, count)})
        self._scale = scale
        self._pairs = [_centre(*source.read(index), scale) for index in indices]

    def __len__(self) -> int:
        return len(self._pairs)

    def score(self, upscale: Callable[[np.ndarray], np.ndarray]) -> tuple[float, np.ndarray]:
        """Mean PSNR-Y over the held-out crops, and the first output as a sample.

        Args:
            upscale: (h, w, 3) uint8 -> (s h, s w, 3) uint8.

        Returns:
            The mean in dB by the protocol `paper`, and the first output.
        """
        scores = []
        sample: np.ndarray | None = None
        for lr, hr in self._pairs:
            sr = upscale(lr)
            sample = sr if sample is None else sample
            scored = score_images(sr, hr, protocol=PAPER, scale=self._scale, metrics=("psnr",))
            scores.append(scored["psnr_y_db"])
        assert sample is not None
        return float(np.mean(scores)), sample


def _centre(lr: np.ndarray, hr: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """The central crop of a pair, at most 128 LR pixels a side."""
    height, width = (min(size, MOST_LR_PX) for size in lr.shape[:2])
    top, left = (lr.shape[0] - height) // 2, (lr.shape[1] - width) // 2
    hr_rows = slice(top * scale, (top + height) * scale)
    hr_columns = slice(left * scale, (left + width) * scale)
    return lr[top : top + height, left : left + width], hr[hr_rows, hr_columns]
