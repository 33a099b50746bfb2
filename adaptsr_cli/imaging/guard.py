"""The strength of an adapter that was trained without pairs: what it gains over all cameras that are plausible.

An adapter that undoes too much does harm, and how much is too much depends on what no estimate from photographs tells:
how far the estimate is off, and what of an LR photograph no blur and sharpening explain (aliasing, local processing,
compression). So the adapter is tried, in several strengths, on sharp photographs that it was not trained on, as the
estimated camera would take them, as one that does only half as much would, and with more noise than was estimated. The
strength is the one of the largest careful gain: midway between that of the median camera and that which nine in ten
exceed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from adaptsr_cli.artifacts.camera import CameraEstimate
from adaptsr_cli.artifacts.degradation import (
    CameraGrain,
    CameraTransfer,
    Degradation,
    DegradationRecord,
    LensBlur,
    Span,
    Step,
)
from adaptsr_cli.artifacts.guard import SURE_SHARE
from adaptsr_cli.artifacts.transfer import CameraNoise, TransferEstimate, TransferFunction
from adaptsr_cli.imaging.training_cameras import UNEXPLAINED_LEVELS, order_by_change, with_unexplained

Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64

STRENGTHS: Final[tuple[float, ...]] = (0.0, 0.25, 0.5, 0.75)
"""What a simulation lacks of a camera it cannot show, so no adapter is believed in full. Of 13 trainings of four
networks on three cameras three quarters gained 0.50 dB on average and 0.18 at worst, full strength 0.31 and -0.51. Any
two of the cameras say so of the third (`benchmarks/without_pairs.py`)."""

UP_TO_HALF: Final[tuple[float, ...]] = (0.0, 0.25, 0.5)
"""Where the trial is known to be too easy: of what an adapter learnt there half is believed.

Trained on one pair of each of three cameras, adapters gained on other scenes 0.22, 0.08 and 0.30 dB at half strength,
and 0.09, 0.02 and 0.00 in full. At x2, with photographs that no blur, sharpening and noise explained, two gained 0.01
and -0.01 dB at half and lost 0.08 and 0.41 in full, which simulation took for a gain.
"""

_FUNCTIONS: Final = 6
# Of 162 known cameras 152 did at least half of what was estimated (`benchmarks/transfer_estimate.py`).
_SHARES: Final = (1.0, 0.5)
# In turn: what the training adds to the estimated noise, and twice that.
_UNEXPLAINED_LEVELS: Final = (UNEXPLAINED_LEVELS, 2 * UNEXPLAINED_LEVELS)
# Gains below this are not worth the risk.
_LEAST_GAIN_DB: Final = 0.02


@dataclass(frozen=True)
class StrengthChoice:
    """What each strength gains, and the one to take.

    Attributes:
        low_db: (S,) gain that `SURE_SHARE` of the cameras exceed.
        median_db: (S,) gain of the median camera.
        strength: The chosen one; 0 where none gains.
    """

    low_db: Floats
    median_db: Floats
    strength: float


def careful_gain(low_db: Floats, median_db: Floats) -> Floats:
    """What a strength is chosen by: the middle of the two.

    Of a dozen cameras the one that nine in ten exceed is the second worst. Chosen by it alone, a training near the edge
    of what that camera bears got a quarter of the strength or three quarters by the chance of its draws, and a quarter
    gave 0.4 dB where three quarters gave 1.0 (`benchmarks/guard_record.py`).

    Args:
        low_db: (S,) gain that `SURE_SHARE` of the cameras exceed.
        median_db: (S,) gain of the median camera.
    """
    return (low_db + median_db) / 2


def plausible_cameras(record: DegradationRecord) -> tuple[Degradation, ...]:
    """The cameras that an estimate and its errors leave possible.

    Args:
        record: Of a run without pairs, with an estimate.

    Raises:
        ValueError: There is no estimate from photographs.
    """
    match record.estimate:
        case TransferEstimate() as estimate:
            functions = [draw.between(share) for share in _SHARES for draw in _spread(estimate)]
            noises = [with_unexplained(estimate.noise, levels) for levels in _UNEXPLAINED_LEVELS]
            return tuple(
                _with_camera(record.degradation, function, noises[number % len(noises)])
                for number, function in enumerate(functions)
            )
        case CameraEstimate():
            # Nothing tells how much of the blur is the scenes' own.
            return tuple(_with_blur(record.degradation, share) for share in (0.0, *_SHARES))
        case _:
            raise ValueError("only an estimate from photographs says which cameras are plausible")


def choose_strength(strengths: Sequence[float], gains: Floats) -> StrengthChoice:
    """The strength of the largest careful gain.

    Args:
        strengths: S of them, rising from 0.
        gains: (S, cameras) over the backbone, in dB.

    Raises:
        ValueError: The two do not go together.
    """
    if gains.ndim != 2 or len(gains) != len(strengths) or not gains.shape[1] or strengths[0] != 0:
        raise ValueError(f"gains of {gains.shape} at {len(strengths)} strengths do not go together")
    return choose_by_gains(strengths, np.quantile(gains, 1 - SURE_SHARE, axis=1), np.median(gains, axis=1))


def choose_by_gains(strengths: Sequence[float], low_db: Floats, median_db: Floats) -> StrengthChoice:
    """The strength of the largest careful gain.

    Args:
        strengths: S of them.
        low_db: (S,) gain that `SURE_SHARE` of the cameras exceed.
        median_db: (S,) gain of the median camera.
    """
    careful = careful_gain(low_db, median_db)
    best = int(careful.argmax())
    return StrengthChoice(low_db, median_db, strengths[best] if careful[best] >= _LEAST_GAIN_DB else 0.0)


def _spread(estimate: TransferEstimate) -> list[TransferFunction]:
    """A few of the draws, evenly over the order of how much they change the picture."""
    order = order_by_change(estimate)
    places = (np.arange(_FUNCTIONS) + 0.5) / _FUNCTIONS * len(order)
    return [estimate.draws[order[int(place)]] for place in places]


def _with_camera(degradation: Degradation, function: TransferFunction, noise: CameraNoise) -> Degradation:
    def change(step: Step) -> Step:
        match step:
            case CameraTransfer():
                return step.model_copy(update={"functions": (function,)})
            case CameraGrain():
                return step.model_copy(update={"noise": noise})
            case _:
                return step

    return degradation.model_copy(update={"steps": tuple(map(change, degradation.steps))})


def _with_blur(degradation: Degradation, share: float) -> Degradation:
    def change(step: Step) -> Step:
        if not isinstance(step, LensBlur):
            return step
        span = Span(low=share * step.sigma_lr_px.low, high=share * step.sigma_lr_px.high)
        return step.model_copy(update={"sigma_lr_px": span})

    return degradation.model_copy(update={"steps": tuple(map(change, degradation.steps))})
