"""Colours that the training images do not show, given to some of their crops."""

from __future__ import annotations

import numpy as np

from adaptsr_cli.arrays import Uint8Array


def shift_levels(lr: Uint8Array, hr: Uint8Array, rng: np.random.Generator) -> tuple[Uint8Array, Uint8Array]:
    """Both sides, each channel brighter or darker by one number of grey levels for which there is room.

    Args:
        lr: (h, w, 3).
        hr: (s h, s w, 3).
        rng: Draws the numbers.
    """
    darkest = np.minimum(lr.min(axis=(0, 1)), hr.min(axis=(0, 1))).astype(int)
    brightest = np.maximum(lr.max(axis=(0, 1)), hr.max(axis=(0, 1))).astype(int)
    shift = rng.integers(-darkest, 255 - brightest, endpoint=True)  # (3,)
    return (lr + shift).astype(np.uint8), (hr + shift).astype(np.uint8)


def blend_with_colour(lr: Uint8Array, hr: Uint8Array, rng: np.random.Generator) -> tuple[Uint8Array, Uint8Array]:
    """Both sides mixed with one random colour, from all of the crop to all of the colour.

    A mixture commutes with blur and resampling, so that the pair stays one of the same camera ("Blend" of Yoo et al.,
    CutBlur, 2020, with the whole range of shares instead of its upper part: what breaks in a network adapted to a few
    scenes are flat, saturated colours, which textured crops come near only where little is left of them).

    Args:
        lr: (h, w, 3).
        hr: (s h, s w, 3).
        rng: Draws colour and share.
    """
    share, colour = rng.uniform(), rng.uniform(0, 255, 3)
    mixed = [np.rint(share * side.astype(np.float32) + (1 - share) * colour).astype(np.uint8) for side in (lr, hr)]
    return mixed[0], mixed[1]
