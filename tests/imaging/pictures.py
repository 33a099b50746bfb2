"""Pictures and short degradations that the tests of degradation share."""

from __future__ import annotations

import numpy as np

from adaptsr_cli.artifacts.degradation import Degradation, Step, ToLr
from adaptsr_cli.imaging.degrade import degrade
from adaptsr_cli.io.images import resize_bicubic

TO_LR = ToLr()


def photo(width_px: int = 64, height_px: int = 48, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height_px // 8, width_px // 8, 3), dtype=np.uint8)
    return resize_bicubic(small, width_px, height_px)


def flat(level: int, side_px: int = 400) -> np.ndarray:
    return np.full((side_px, side_px, 3), level, np.uint8)


def chain(*steps: Step) -> Degradation:
    return Degradation(name="test", steps=steps)


def apply(degradation: Degradation, hr: np.ndarray, scale: int = 4, seed: int = 0) -> np.ndarray:
    return degrade(hr, scale, degradation, np.random.default_rng(seed)).astype(float)
