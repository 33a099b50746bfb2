"""Pictures that show nothing, such as a frame with the lens cap on or a piece of a white sky.

What a network changes there, by tens of dB, is not seen, but outweighs all that it gains on others in a mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from adaptsr_cli.arrays import Uint8Array

_FLAT_LEVELS: Final = 1.0
"""Standard deviation of a channel, in levels of 255, below which it shows nothing."""


def is_flat(images: Iterable[Uint8Array]) -> bool:
    """Whether images of shape (h, w, 3), such as the pieces of one, show nothing, each by itself."""
    return all(bool((image.std(axis=(0, 1)) < _FLAT_LEVELS).all()) for image in images)
