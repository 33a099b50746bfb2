"""Learning-rate schedules as pure functions of the finished share of a run."""

from __future__ import annotations

import math
from typing import Final

from adaptsr_cli.artifacts.train_config import ScheduleName

_STEPS: Final = (0.5, 0.75, 0.9)
_FLOOR: Final = 0.01
_WARM_UP: Final = 0.05


def learning_rate(peak: float, schedule: ScheduleName, done: float) -> float:
    """Return the learning rate at a point of the run.

    Args:
        peak: Largest learning rate.
        schedule: ``constant`` rises over the first 5 % of the run and stays; ``cosine`` rises as long, then falls to
            1 % of the peak; ``steps`` is x0.75 at 50 %, 75 % and 90 % (AdaptSR, Section 4.1).
        done: Share of the run that is done, in [0, 1].
    """
    if schedule == "steps":
        return peak * 0.75 ** sum(done >= step for step in _STEPS)
    if schedule == "constant":
        return peak * warm_up(done)
    return warm_up(done) * peak * (_FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))


def warm_up(done: float) -> float:
    """The factor of the learning rate after a start: it rises from 1 % to 1 over 5 % of the run.

    Adam's first steps are of full size whatever the gradient; without the rise they throw the backbone off.

    Args:
        done: Share of the run that is done since the start.
    """
    return min(1.0, _FLOOR + done / _WARM_UP)
