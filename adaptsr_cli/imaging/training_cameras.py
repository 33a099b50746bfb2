"""The cameras that a training without pairs draws from: the safe end of an estimate's spread, and a floor of noise."""

from __future__ import annotations

from typing import Final

import numpy as np

from adaptsr_cli.artifacts.transfer import CameraNoise, TransferEstimate, TransferFunction

CAUTIOUS_SHARE: Final = 0.2
"""Of the draws, how many `cautious_draws` takes."""

UNEXPLAINED_LEVELS: Final = 1.0
"""What of an LR photograph no blur and sharpening explain (aliasing, local processing, rounding), in grey levels.

In flat places pairs of three real cameras left over 0.9 to 1.1 levels, where the photographs alone had shown 0.4. A
network that is trained without it sharpens it with the rest: on one of the cameras that cost 0.27 dB.
"""


def cautious_draws(estimate: TransferEstimate, share: float = CAUTIOUS_SHARE) -> tuple[TransferFunction, ...]:
    """The draws of an estimate that change the picture least: what the camera does at the least.

    To undo too little gains less; to undo what the camera never did does harm (a blur of 2.4 px for a true one of 1.6
    cost 1 dB, where the true one gained 0.2). So of all functions that the photographs leave possible, those nearest to
    the plain reduction are the safe ones, and a wide spread makes the training timid by itself.

    Args:
        estimate: From unpaired photographs.
        share: Of the draws, in (0, 1]; 1 is all of them.

    Raises:
        ValueError: The share is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"a share of {share} is not within 0 and 1")
    order = order_by_change(estimate)
    return tuple(estimate.draws[index] for index in sorted(order[: max(1, round(share * len(order)))]))


def order_by_change(estimate: TransferEstimate) -> list[int]:
    """The places of the draws, from those that change the picture least to those that change it most."""
    frequency = np.array(estimate.band.frequency)
    changes = [float(np.abs(draw.at(frequency) - 1).mean()) for draw in estimate.draws]
    return [int(place) for place in np.argsort(changes, kind="stable")]


def with_unexplained(noise: CameraNoise, levels: float = UNEXPLAINED_LEVELS) -> CameraNoise:
    """The noise of a camera and what its function leaves unexplained, together."""
    return noise.model_copy(update={"read_variance": noise.read_variance + levels**2})
