"""A chart of flat colours, on which a network shows whether it knows more than the scenes it was trained on.

A network that has learnt from a handful of scenes may answer a colour that none of them shows with spots of quite
other ones. No held-out image of the same scenes tells; a flat square does, whose inside has to come out as it went in.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import ndimage

from adaptsr_cli.arrays import Float64Array, Uint8Array

_LEVELS: Final = (0, 85, 170, 255)
_COLOURS: Final = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS, indexing="ij"), axis=-1).reshape(8, 8, 3)
_SIDE_LR_PX: Final = 24
# Binomial, sigma 1 px. Edges sharper than any camera's break networks that are at their ease with photographs.
_EDGE: Final = np.array([1, 4, 6, 4, 1]) / 16
_BROKEN_LEVELS: Final = 64
"""Grey levels: much more than what the colours of two cameras differ by."""

COLOURS: Final = len(_LEVELS) ** 3


def make_chart() -> Uint8Array:
    """The chart, an LR image (192, 192, 3): every mixture of four levels of each channel, a square of 24 px each.

    Its edges are as soft as those of a camera.
    """
    chart: Float64Array = _COLOURS.repeat(_SIDE_LR_PX, axis=0).repeat(_SIDE_LR_PX, axis=1).astype(float)
    for axis in (0, 1):
        chart = ndimage.convolve1d(chart, _EDGE, axis=axis, mode="nearest")
    return np.rint(chart).astype(np.uint8)


def count_broken(sr: Uint8Array, scale: int) -> int:
    """How many colours of the chart break: inside the square a channel is more than 64 levels off somewhere.

    Args:
        sr: What a network makes of the chart, (192 s, 192 s, 3).
        scale: Upscaling factor s.

    Returns:
        Of `COLOURS`.
    """
    side = _SIDE_LR_PX * scale
    squares = sr.reshape(8, side, 8, side, 3).swapaxes(1, 2).astype(int)
    # Near its edge a square may ring.
    inner = squares[:, :, side // 4 : -(side // 4), side // 4 : -(side // 4)]
    off = np.abs(inner - _COLOURS[:, :, None, None])
    return int((off > _BROKEN_LEVELS).any(axis=(2, 3, 4)).sum())
