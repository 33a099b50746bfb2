"""Raw files of a made-up camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile


def write_dng(path: Path, light: np.ndarray) -> None:
    """A DNG of an RGGB sensor whose colours are those of sRGB; (h, w, 3) linear light in [0, 1]."""
    mosaic = light[..., 1].copy()
    mosaic[::2, ::2], mosaic[1::2, 1::2] = light[::2, ::2, 0], light[1::2, 1::2, 2]
    raw = np.clip(mosaic * 16183 + 200, 0, 16383).astype(np.uint16)
    matrix = [32406, -15372, -4986, -9689, 18758, 415, 557, -2040, 10570]
    tags: list[Any] = [
        (50706, 1, 4, bytes([1, 4, 0, 0]), True),  # version
        (50708, 2, 0, "Test 1", True),
        (272, 2, 0, "Test 1", True),
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes([0, 1, 1, 2]), True),  # RGGB
        (50714, 3, 1, 200, True),  # black
        (50717, 3, 1, 16383, True),  # white
        (50721, 10, 9, [number for value in matrix for number in (value, 10000)], True),  # XYZ to camera
        (50728, 5, 3, [1] * 6, True),  # neutral
        (50778, 3, 1, 21, True),  # D65
    ]
    tifffile.imwrite(path, raw, photometric=32803, extratags=tags, metadata=None, software=None)
