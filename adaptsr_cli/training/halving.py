"""Successive halving: which short trainings a search for method and learning rate consists of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Final, TypeVar

from adaptsr_cli.artifacts.base import Method
from adaptsr_cli.artifacts.search import RateBound, TrialScore

Key = TypeVar("Key")

LEAST_ITERATIONS: Final = 60
"""Of the whole training; of fewer, a search could not tell the trials apart."""

EXTRA: Final = 0.3
"""Steps of the trials that do not win, as a share of the whole training."""

_FACTORS: Final = (1.0, 0.5, 0.25, 0.125, 2.0)
"""Of the rate to begin with, in the order in which they are tried where there are steps for more of them."""

_FACTORS_BELOW_USUAL: Final = (1.0, 2.0, 0.5, 0.25, 4.0)
"""The same where the first step asks for a lower rate than usual: it is a careful witness, and many networks bear more;
the losses show those that do not."""

_STEPS_A_TRIAL: Final = 90
"""Fewer steps do not tell: in the first 20 the rates that spoil a network look like the best one, in the first 44 those
that hardly move it like the only stable one (`docs/explanation/decisions.md`)."""

_UNSTABLE: Final = 1.25
"""A loss so many times that of another rate on the same batches is a sign of a rate that is too high, which costs
quality for good, even where the held-out score has recovered."""

_LEAD: Final = 0.15
"""Of its gain, by which a rate must be ahead of a lower one of its method. What a higher one reaches sooner the lower
one reaches later, so a smaller lead is gone before the training ends (`docs/explanation/decisions.md`)."""


@dataclass(frozen=True)
class Round:
    """A round of the search.

    Attributes:
        end: Steps that each trial has done at its end.
        keep: How many of the trials go on.
    """

    end: int
    keep: int


@dataclass(frozen=True)
class Halving:
    """The plan of a search.

    Attributes:
        trials: Method and place of the rate among its `rates_to_try`, in the order in which they run.
        rounds: The last one keeps one trial, which goes on to the end of the training.
    """

    trials: tuple[tuple[Method, int], ...]
    rounds: tuple[Round, ...]

    @property
    def all_iterations(self) -> int:
        """Steps of all trials, until the last round ends."""
        taking_part, begin, done = len(self.trials), 0, 0
        for round_ in self.rounds:
            done += taking_part * (round_.end - begin)
            taking_part, begin = round_.keep, round_.end
        return done

    @property
    def lost_iterations(self) -> int:
        """Steps of the trials that do not win."""
        return self.all_iterations - self.rounds[-1].end

    def describe(self, iterations: int) -> str:
        """The search in words, before a training of so many steps."""
        first = f"{len(self.trials)} trials of {self.rounds[0].end} steps"
        between = "".join(f", the best {a.keep} of them to {b.end}" for a, b in pairwise(self.rounds))
        return f"{first}{between}, and the best one to {iterations}"

    @property
    def validations(self) -> int:
        """How often held-out images are scored."""
        return len(self.trials) + sum(round_.keep for round_ in self.rounds[:-1])


def plan_halving(methods: Sequence[Method], iterations: int) -> Halving:
    """Plan a search that costs at most 0.3 times the steps of the training besides those of the winner.

    A short training pays for two rates of one method only, a long one for five of each.

    Args:
        methods: Between which to choose, the one to prefer first.
        iterations: Of the training; at least `LEAST_ITERATIONS`.
    """
    extra = int(EXTRA * iterations)
    count = max(2, min(extra // _STEPS_A_TRIAL, len(_FACTORS) * len(methods)))
    if count < 4:
        trials = tuple((methods[0], place) for place in range(count))
        return Halving(trials, (Round(extra // (count - 1), 1),))
    trials = tuple((method, place) for place in range(len(_FACTORS)) for method in methods)[:count]
    first = extra // count
    return Halving(trials, (Round(first, 2), Round(2 * first, 1)))


def rates_to_try(bound: RateBound) -> tuple[float, ...]:
    """The learning rates of a method, the likeliest ones first.

    Args:
        bound: Of its rate, by the network's first step.
    """
    factors = _FACTORS if bound.highest == bound.usual else _FACTORS_BELOW_USUAL
    return tuple(bound.highest * factor for factor in factors)


def mark_unstable(scores: Mapping[Key, TrialScore], methods: Mapping[Key, Method]) -> dict[Key, TrialScore]:
    """Mark the trials whose loss was at some time far above that of another rate of their method on the same batches.

    Those whose held-out score fell are unstable already, and stay so.

    Between methods a higher loss says nothing: full updates go further than low-rank ones, and the score is of the mean
    of their steps.

    A trial that lowered its rate went back and hardly moves since: its losses are no measure for those that move.

    Args:
        scores: Of all trials of a round. One that lowered its rate has fewer losses than others, those of the last
            batches; with none its rate is as good as untried.
        methods: Of these trials.
    """
    latest_first = {key: score.losses[::-1] for key, score in scores.items() if score.gain_db is not None}
    lowest = {}
    for method in set(methods.values()):
        rates = [key for key in latest_first if methods[key] == method]
        unlowered = [key for key in rates if scores[key].learning_rate is None]
        measures = (latest_first[key] for key in unlowered or rates)
        lowest[method] = [min(values) for values in zip_longest(*measures, fillvalue=math.inf)]
    unstable = {
        key
        for key, losses in latest_first.items()
        if any(loss > _UNSTABLE * least for loss, least in zip(losses, lowest[methods[key]], strict=False))
        or (not losses and scores[key].learning_rate is not None)
    }
    return {
        key: score.model_copy(update={"stable": score.stable and key not in unstable}) for key, score in scores.items()
    }


def mark_small_leads(
    scores: Mapping[Key, TrialScore], methods: Mapping[Key, Method], rates: Mapping[Key, float]
) -> dict[Key, TrialScore]:
    """Mark the trials that are ahead of a stable one with a lower rate of their method, but by too little to stay it.

    Args:
        scores: Of all trials of a round, the unstable ones marked.
        methods: Of these trials.
        rates: Peaks of the learning rates with which they go on.
    """
    sure = {key: score.gain_db for key, score in scores.items() if score.stable and score.gain_db is not None}
    small = {
        key
        for key, gain_db in sure.items()
        for lower, other_db in sure.items()
        if methods[lower] == methods[key] and rates[lower] < rates[key] and (1 - _LEAD) * gain_db < other_db < gain_db
    }
    return {key: score.model_copy(update={"leads_enough": key not in small}) for key, score in scores.items()}


def best_of(scores: Mapping[Key, TrialScore], keep: int) -> list[Key]:
    """The trials with the best scores, in the order of `scores`.

    One whose lead is too small is taken only where there are not enough others, an unstable one after these, one that
    failed after all others.
    """

    def worth(key: Key) -> tuple[bool, bool, float]:
        score = scores[key]
        gain_db = -math.inf if score.gain_db is None else score.gain_db
        return score.stable and score.gain_db is not None, score.leads_enough, gain_db

    best = sorted(scores, key=worth, reverse=True)[:keep]
    return [key for key in scores if key in best]
