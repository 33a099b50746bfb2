"""How much host memory an image takes while it is upscaled as a whole."""

from __future__ import annotations

import math
from typing import Final

# Measured with `benchmarks/upscale_memory.py`: 15 bytes for each pixel of the result with 8 bits a channel, 19 with 16.
_LR_PX_BYTES: Final = 40
_SR_PX_BYTES: Final = 24
_RESIZED_PX_BYTES: Final = 36  # the resized result and two copies on the way, as float32
_HELD_PX_BYTES: Final = 8  # four channels of 16 bits


def picture_bytes(width_px: int, height_px: int, *, scale: int, outscale: float, frames: int = 1) -> int:
    """The most host memory that reading, upscaling and writing one picture takes, in bytes.

    Without transparency, which takes as much again; and without what the network takes for its tiles, which does not
    depend on the size.

    Args:
        width_px: LR width.
        height_px: LR height.
        scale: The network's factor.
        outscale: The final factor.
        frames: Pages or frames of this size; they are worked on one after another, and all held.
    """
    resized = 0 if outscale == scale else _RESIZED_PX_BYTES * outscale**2
    held = (frames - 1) * _HELD_PX_BYTES * (1 + outscale**2)
    return math.ceil(width_px * height_px * (_LR_PX_BYTES + _SR_PX_BYTES * scale**2 + resized + held))
