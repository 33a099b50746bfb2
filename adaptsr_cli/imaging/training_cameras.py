"""The cameras that a training draws from: an estimate's whole spread, in any strength, beside the plain reduction."""

from __future__ import annotations

from typing import Final

import numpy as np

from adaptsr_cli.artifacts.transfer import IDENTITY, PairEstimate, TransferEstimate, TransferFunction
from adaptsr_cli.imaging.sharp_photographs import SimulatedCamera

CAUTIOUS_SHARE: Final = 0.2
"""Of the draws, how many `cautious_draws` takes."""


def cameras_of_spread(
    estimate: TransferEstimate,
    count: int,
    *,
    strength: float = 1.0,
    plain_share: float = 0.0,
    cautious: bool = False,
) -> list[SimulatedCamera]:
    """One camera for each of so many photographs, going through the draws of an estimate.

    A network that is trained on one wrong function learns to undo what the camera does not do; one that is trained on
    all that the photographs leave possible learns what these have in common.

    Args:
        estimate: From unpaired photographs.
        count: How many cameras.
        strength: How much of the function, 0 for the plain reduction to 1; noise and JPEG are the camera's in any case.
        cautious: Whether only `cautious_draws` are drawn.
        plain_share: For what share of the photographs the function is left out, spread evenly.

    Raises:
        ValueError: Strength or share is not within 0 and 1.
    """
    if not 0 <= plain_share <= 1:
        raise ValueError(f"a share of {plain_share} is not within 0 and 1")
    qualities = _qualities(estimate)
    possible = cautious_draws(estimate) if cautious else estimate.draws
    draws = [draw.between(strength) for draw in possible]
    cameras = []
    for number in range(count):
        # Plain at every step of the running sum, so that any stretch of photographs has the share.
        plain = int((number + 1) * plain_share) > int(number * plain_share)
        cameras.append(SimulatedCamera(IDENTITY if plain else draws[number % len(draws)], estimate.noise, qualities))
    return cameras


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
    frequency = np.array(estimate.band.frequency)
    changes = [float(np.abs(draw.at(frequency) - 1).mean()) for draw in estimate.draws]
    nearest = np.argsort(changes, kind="stable")[: max(1, round(share * len(changes)))]
    return tuple(estimate.draws[index] for index in np.sort(nearest))


def likeliest_camera(estimate: TransferEstimate) -> SimulatedCamera:
    """The camera of the median function."""
    return SimulatedCamera(estimate.transfer, estimate.noise, _qualities(estimate))


def camera_of_pairs(estimate: PairEstimate, qualities: tuple[int | None, ...] = (None,)) -> SimulatedCamera:
    """The camera that pairs show; what JPEG leaves is in its residual already, unless `qualities` are given."""
    return SimulatedCamera(estimate.transfer, estimate.noise, qualities)


def _qualities(estimate: TransferEstimate) -> tuple[int | None, ...]:
    """The JPEG qualities, and as many files that are none as there were."""
    return (*estimate.jpeg_qualities, *(None,) * (estimate.photographs - len(estimate.jpeg_qualities)))
