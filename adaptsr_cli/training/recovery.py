"""Recovery of a training whose learning rate is too high: a good state is put back, and the rate becomes lower."""

from __future__ import annotations

import math
from typing import Final

from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.artifacts.train_state import LoopState, RateCut
from adaptsr_cli.errors import TrainingError
from adaptsr_cli.training.due import finished_share
from adaptsr_cli.training.folder import TrainingFolder
from adaptsr_cli.training.schedule import learning_rate, warm_up
from adaptsr_cli.training.state import TrainState, read_state, restart_share, restore
from adaptsr_cli.units import format_seconds

RATE_CUT: Final = 0.25
"""What a learning rate is multiplied with when training fails."""

MOST_CUTS: Final = 6
"""A rate 4,096 times too high; what still fails then does not fail by its rate."""

SETTLED_SHARE: Final = 0.3
"""From here on the best state is what training goes back to; before, it is the start, since an adapter that a rate far
too high has made is a poor one to go on from, however it scores."""

COLLAPSE_DB: Final = 3.0
"""A perceptual training that has lost more PSNR-Y than that does not show the scene any more."""

_TOLERATED_FALL_DB: Final = 0.5
_DEEP_FALL_DB: Final = 3.0


def peak_rate(state: LoopState) -> float:
    """The peak of the learning rate after all cuts."""
    return state.plan.config.learning_rate * math.prod(cut.factor for cut in state.rate_cuts)


def rate_now(state: LoopState, config: TrainConfig) -> float:
    """The learning rate of the next step: that of the schedule, after all cuts, of which each has its own warm-up."""
    peak = peak_rate(state)
    if state.schedule_start is not None:
        peak *= state.schedule_start.peak_share
    if state.rate_cuts:  # the moments of Adam have begun anew too, or are those of other weights
        peak *= warm_up((state.iteration - state.rate_cuts[-1].iteration) / config.iterations)
    return learning_rate(peak, config.schedule, finished_share(state, config))


def describe_resuming(state: LoopState, saved: LoopState) -> str:
    """How a saved training goes on, in one line.

    Args:
        state: From which it goes on.
        saved: The same as it was saved, perhaps under a shorter plan.
    """
    said = f"resuming at iteration {state.iteration} after {format_seconds(state.elapsed_s)} of training"
    if state.plan == saved.plan:
        return said
    config = state.plan.config
    end = f"iteration {config.iterations}" if config.minutes is None else f"{config.minutes:g} minutes"
    if not saved.finished:
        return f"{said}, now up to {end}, by the schedule of that length"
    peak = f"{peak_rate(state) * restart_share(config):.2g}"
    if config.schedule == "constant":
        return f"{said}, now up to {end}, at the same learning rate ({peak})"
    return f"{said}, now up to {end}: the learning rate begins its schedule anew, at half of its peak ({peak})"


def is_lost(score: float, state: LoopState, config: TrainConfig, *, seeks_psnr: bool) -> bool:
    """Whether a held-out score is so far below the backbone's that only a lower rate can help.

    A high rate costs some quality until it decays, so early in the run a fall is tolerated, at its end none. An
    objective that gives PSNR up for sharpness is lost where it has collapsed.

    Args:
        score: PSNR-Y in dB.
        state: Where the loop stands.
        config: The options of the run.
        seeks_psnr: The objective's.
    """
    left = 1 - finished_share(state, config)
    if len(state.rate_cuts) == MOST_CUTS or left <= 0:
        return False
    tolerated_db = _TOLERATED_FALL_DB * left
    return score < state.backbone_psnr_y_db - tolerated_db if seeks_psnr else _has_collapsed(score, state)


def keeps(score: float, state: LoopState, *, seeks_psnr: bool) -> bool:
    """Whether the adapter that has a held-out score takes the place of the one that was kept before.

    Of an objective that gives PSNR up on purpose the latest adapter is the one that is wanted, unless it has collapsed.
    """
    return score > state.best_psnr_y_db if seeks_psnr else not _has_collapsed(score, state)


def _has_collapsed(score: float, state: LoopState) -> bool:
    """Whether more PSNR is lost than sharpness ever costs, which is one or two dB of GANs trained for long."""
    return not score >= state.backbone_psnr_y_db - COLLAPSE_DB


def lower_rate(
    state: LoopState, train_state: TrainState, folder: TrainingFolder, reason: str, lost_db: float = 0.0
) -> tuple[LoopState, str]:
    """Put the last good state back and lower the rate; the steps done remain counted.

    Args:
        state: Where the loop stands.
        train_state: What training changes, on which the state is put.
        folder: Where the good state lies.
        reason: What is wrong, for people.
        lost_db: How far the held-out score is below the backbone's; a deep fall lowers the rate twice at once.

    Returns:
        The state to go on from, and one line for the user.

    Raises:
        TrainingError: The rate was lowered as often as makes sense, or there is no state to go back to.
    """
    if len(state.rate_cuts) == MOST_CUTS or not folder.good.exists():
        kept = f"; the last good state is kept in {folder.state}" if folder.state.exists() else ""
        raise TrainingError(
            f"{reason} before iteration {state.iteration}",
            f"try a smaller `learning_rate` or `precision` fp32{kept}",
        )
    good, tensors = read_state(folder.good)
    restore(tensors, train_state, folder.good)
    if train_state.average is not None:
        train_state.average.begin_anew()
    factor = RATE_CUT if lost_db < _DEEP_FALL_DB else RATE_CUT**2
    cut = RateCut(iteration=state.iteration, reason=reason, factor=factor, back_to=good.iteration)
    state = state.model_copy(update={"rate_cuts": (*state.rate_cuts, cut)})
    return state, (
        f"{reason} at iteration {state.iteration}: going on from the adapter of iteration {good.iteration} with "
        f"1/{1 / factor:g} of the learning rate, {peak_rate(state):.2g} at its peak"
    )
