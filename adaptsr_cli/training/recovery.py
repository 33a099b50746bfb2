"""Recovery of a training whose learning rate is too high: a good state is put back, and the rate becomes lower."""

from __future__ import annotations

import math
from dataclasses import dataclass
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

_SETTLED_SHARE: Final = 0.3
"""A training that fails goes back to its best state if that is of here or later; else to the start, since an adapter
that a rate far too high has made is a poor one to go on from, however it scores."""

COLLAPSE_DB: Final = 3.0
"""A perceptual training that has lost more PSNR-Y than that does not show the scene any more."""

_TOLERATED_FALL_DB: Final = 0.5
_TOLERATED_FALL_OF_FEW_DB: Final = 1.0
_DEEP_FALL_DB: Final = 3.0
_LOST_SHARE: Final = 0.1
LEAST_LOSS_DB: Final = 0.03
"""A smaller fall of a held-out score says nothing."""


@dataclass(frozen=True)
class Fault:
    """Why the learning rate is lowered.

    Attributes:
        reason: What is wrong, for people.
        factor: What the rate is multiplied with.
        spares_best: The best adapter is none of a rate far too high, so training goes on from it.
    """

    reason: str
    factor: float = RATE_CUT
    spares_best: bool = False


NOT_FINITE: Final = Fault("the loss stopped being finite")


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


def find_fault(score: float, state: LoopState, *, seeks_psnr: bool, few_images: bool = False) -> Fault | None:
    """What a held-out score says against the learning rate; None where nothing.

    A training is lost whose score is well below the backbone's. A high rate costs some quality until it decays, so
    early in the run a fall is tolerated, at its end none; a larger one where few images are held out, whose scenes may
    be unlike those that are learnt first. An objective that gives PSNR up for sharpness is lost where it has collapsed.

    At a constant rate the mean of the steps is scored, which moves smoothly. Where it has lost a tenth of its gain, the
    rate brings nothing more; before there is a gain, it says nothing. Nor where few images are held out and these and
    some that are trained on are better than ever, taken together.

    Args:
        score: PSNR-Y in dB.
        state: Where the loop stands.
        seeks_psnr: The objective's.
        few_images: Whether few images are held out.
    """
    config = state.plan.config
    done, before = finished_share(state, config), state.backbone_psnr_y_db
    if len(state.rate_cuts) == MOST_CUTS or done >= 1:
        return None
    tolerated_db = tolerated_fall_db(done, few_images=few_images)
    if score < before - tolerated_db if seeks_psnr else _has_collapsed(score, state):
        # A deep fall lowers the rate twice at once.
        factor = RATE_CUT if before - score < _DEEP_FALL_DB else RATE_CUT**2
        return Fault(f"the held-out score fell to {score:.2f} dB (backbone {before:.2f} dB)", factor)
    best = state.best_psnr_y_db
    if (
        judges_mean(config, seeks_psnr=seeks_psnr)
        and not _is_learning(state)
        and _is_settled(state)
        and best - before > LEAST_LOSS_DB
        and score < best - max(LEAST_LOSS_DB, _LOST_SHARE * (best - before))
        and not _has_given_up_best(state)
    ):
        return Fault(f"the held-out score fell from {best:.2f} to {score:.2f} dB", spares_best=True)
    return None


def tolerated_fall_db(done: float, *, few_images: bool) -> float:
    """How far a held-out score may be below the backbone's, after this share of a training."""
    return (_TOLERATED_FALL_OF_FEW_DB if few_images else _TOLERATED_FALL_DB) * (1 - done)


def judges_mean(config: TrainConfig, *, seeks_psnr: bool) -> bool:
    """Whether a mean of the steps that gets a little worse says that the rate is too high."""
    return seeks_psnr and config.schedule == "constant"


def note_joint_score(state: LoopState, psnr_y_db: float | None) -> LoopState:
    """The state with a score of held-out images and some that are trained on, together; None where there is none."""
    scores = [score for score in (state.best_joint_psnr_y_db, psnr_y_db) if score is not None]
    return state.model_copy(update={"joint_psnr_y_db": psnr_y_db, "best_joint_psnr_y_db": max(scores, default=None)})


def _is_learning(state: LoopState) -> bool:
    """Whether held-out images and some that are trained on, together, are better than ever at this rate."""
    return state.joint_psnr_y_db is not None and state.joint_psnr_y_db == state.best_joint_psnr_y_db


def _has_given_up_best(state: LoopState) -> bool:
    """Whether training went back to where it was before its best state, and has made no better one since."""
    return any(cut.back_to < state.best_iteration <= cut.iteration for cut in state.rate_cuts)


def keeps(score: float, state: LoopState, *, seeks_psnr: bool) -> bool:
    """Whether the adapter that has a held-out score takes the place of the one that was kept before.

    Of an objective that gives PSNR up on purpose the latest adapter is the one that is wanted, unless it has collapsed.
    """
    return score > state.best_psnr_y_db if seeks_psnr else not _has_collapsed(score, state)


def _has_collapsed(score: float, state: LoopState) -> bool:
    """Whether more PSNR is lost than sharpness ever costs, which is one or two dB of GANs trained for long."""
    return not score >= state.backbone_psnr_y_db - COLLAPSE_DB


def lower_rate(
    state: LoopState, train_state: TrainState, folder: TrainingFolder, fault: Fault
) -> tuple[LoopState, str]:
    """Put a good state back and lower the rate; the steps done remain counted.

    Args:
        state: Where the loop stands.
        train_state: What training changes, on which the state is put.
        folder: Where the good state lies.
        fault: Why.

    Returns:
        The state to go on from, and one line for the user.

    Raises:
        TrainingError: The rate was lowered as often as makes sense, or there is no state to go back to.
    """
    if len(state.rate_cuts) == MOST_CUTS or not folder.good.exists():
        kept = f"; the last good state is kept in {folder.state}" if folder.state.exists() else ""
        raise TrainingError(
            f"{fault.reason} before iteration {state.iteration}",
            f"try a smaller `learning_rate` or `precision` fp32{kept}",
        )
    path = folder.good
    good, tensors = read_state(path)
    # Folders of earlier versions have no start.
    from_start = not fault.spares_best and folder.start.exists() and not _is_settled(good)
    if from_start:
        path = folder.start
        good, tensors = read_state(path)
    restore(tensors, train_state, path)
    if train_state.average is not None:
        if from_start:
            train_state.average.begin_anew()
        else:  # it is what was good: its last step alone may be far from that
            train_state.average.take_over()
    cut = RateCut(iteration=state.iteration, reason=fault.reason, factor=fault.factor, back_to=good.iteration)
    state = state.model_copy(
        update={"rate_cuts": (*state.rate_cuts, cut), "joint_psnr_y_db": None, "best_joint_psnr_y_db": None}
    )
    return state, (
        f"{fault.reason} at iteration {state.iteration}: going on from the adapter of iteration {good.iteration} with "
        f"1/{1 / fault.factor:g} of the learning rate, {peak_rate(state):.2g} at its peak"
    )


def _is_settled(state: LoopState) -> bool:
    """Whether enough of a training was done for its best state to be one to go on from; one that goes on had ended."""
    goes_on = state.schedule_start is not None and state.schedule_start.iteration > 0
    return goes_on or finished_share(state, state.plan.config) >= _SETTLED_SHARE
