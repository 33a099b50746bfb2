"""Scenes with the statistics of photographs: flat objects of all sizes that hide one another (dead leaves)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

Image = np.ndarray[Any, np.dtype[np.uint8]]


@cache
def dead_leaves(seed: int, height: int = 256, width: int = 256, leaves: int = 500) -> Image:
    """(height, width, 3) uint8 of discs and rectangles with sizes by an inverse cube (Lee, Mumford and Huang 2001)."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 128.0)
    for _ in range(leaves):
        radius = 3 / np.sqrt(rng.uniform((3 / 120) ** 2, 1))
        cy, cx = rng.uniform(-20, height + 20), rng.uniform(-20, width + 20)
        angle, is_round, colour = (
            rng.uniform(0, np.pi),
            rng.random() < 0.4,
            rng.uniform(25, 230) + rng.uniform(-15, 15, 3),
        )
        reach = int(1.5 * radius) + 2
        rows = slice(max(0, int(cy) - reach), max(0, int(cy) + reach + 1))
        columns = slice(max(0, int(cx) - reach), max(0, int(cx) + reach + 1))
        part = image[rows, columns]
        y, x = np.mgrid[rows, columns]
        y, x = y[: part.shape[0], : part.shape[1]] - cy, x[: part.shape[0], : part.shape[1]] - cx
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        size = np.hypot(along, across) if is_round else np.maximum(np.abs(along), np.abs(across))
        cover = np.clip(radius - size + 0.5, 0, 1)[..., None]
        part *= 1 - cover
        part += cover * colour
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
