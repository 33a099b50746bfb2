"""Validation: the score on held-out images during training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.metrics.protocol import PAPER, score_images


class PairSource(Protocol):
    """Where held-out pairs come from."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One pair: lr (h, w, 3) and hr (s h, s w, 3), uint8."""


MAX_IMAGES = 16
MAX_LR_PX = 128
SAMPLE_ROWS = 3
SAMPLE_PX = 256


@dataclass(frozen=True)
class Validation:
    """Score and sample outputs of one validation.

    Attributes:
        psnr_y_db: Mean over all held-out crops, by the protocol `paper`.
        sample: (H, W, 3) uint8: a row for each of the first images, LR enlarged | output | HR.
    """

    psnr_y_db: float
    sample: np.ndarray


class Validator:
    """Scores the network on the centres of at most 16 held-out images.

    The crop bounds the time that validation takes away from training; `adaptsr eval` scores whole images.

    Args:
        source: The held-out pairs.
        scale: Upscaling factor.
        world: The processes that share the images.
    """

    def __init__(self, source: PairSource, scale: int, world: World = SINGLE_PROCESS) -> None:
        count = min(len(source), MAX_IMAGES)
        indices = sorted({round(position) for position in np.linspace(0, len(source) - 1, count)})
        self._count = len(indices)
        self._scale = scale
        self._world = world
        self._pairs = [_centre(*source.read(indices[place]), scale, MAX_LR_PX) for place in world.share(len(indices))]

    def __len__(self) -> int:
        return self._count

    def score(self, upscale: Callable[[np.ndarray], np.ndarray]) -> Validation:
        """Score all held-out crops.

        Args:
            upscale: (h, w, 3) uint8 -> (s h, s w, 3) uint8.
        """
        scores: list[float] = []
        rows: list[np.ndarray] = []
        for lr, hr in self._pairs:
            sr = upscale(lr)
            scored = score_images(sr, hr, protocol=PAPER, scale=self._scale, metrics=("psnr",))
            scores.append(scored["psnr_y_db"])
            if len(rows) < SAMPLE_ROWS:
                rows.append(_sample_row(lr, sr, hr, self._scale))
        # In the order of the images, so that the mean is the same however many processes there are.
        return Validation(float(np.mean(self._world.gather_shares(scores))), _stack(rows))


def _centre(lr: np.ndarray, hr: np.ndarray, scale: int, most_lr_px: int) -> tuple[np.ndarray, np.ndarray]:
    """The central crop of a pair, at most `most_lr_px` LR pixels a side."""
    height, width = (min(size, most_lr_px) for size in lr.shape[:2])
    top, left = (lr.shape[0] - height) // 2, (lr.shape[1] - width) // 2
    hr_rows = slice(top * scale, (top + height) * scale)
    hr_columns = slice(left * scale, (left + width) * scale)
    return lr[top : top + height, left : left + width], hr[hr_rows, hr_columns]


def _sample_row(lr: np.ndarray, sr: np.ndarray, hr: np.ndarray, scale: int) -> np.ndarray:
    """LR enlarged without interpolation, output and HR side by side, (h, 3 w, 3) uint8."""
    most_lr_px = max(1, SAMPLE_PX // scale)
    small, output = _centre(lr, sr, scale, most_lr_px)
    _, target = _centre(lr, hr, scale, most_lr_px)
    return np.concatenate([small.repeat(scale, axis=0).repeat(scale, axis=1), output, target], axis=1)


def _stack(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of any width below one another, filled up in black; one black pixel where there is no row."""
    width = max((row.shape[1] for row in rows), default=1)
    filled = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.concatenate(filled) if filled else np.zeros((1, 1, 3), np.uint8)
