"""What a training has to do after a step besides the next one: logging, validating, saving, ending."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.artifacts.train_state import LoopState, ScheduleStart
from adaptsr_cli.units import plural

LOG_FREQ: Final = 10

_FIRST_STEP: Final = ScheduleStart(iteration=0, elapsed_s=0.0)

StopReason = Literal["iterations", "minutes", "patience"]


@dataclass(frozen=True)
class Due:
    """What is due after a step.

    Attributes:
        log: Write the mean loss since the last row.
        validate: Score the held-out images.
        save: Write the state.
    """

    log: bool
    validate: bool
    save: bool

    @property
    def anything(self) -> bool:
        """Whether the losses have to be read, for which the host waits for the device."""
        return self.log or self.validate or self.save


def finished_share(state: LoopState, config: TrainConfig) -> float:
    """How much of the present schedule is done, in [0, 1]: by iterations or by time, whichever is further."""
    begin = state.schedule_start or _FIRST_STEP
    done = _share(begin.iteration, state.iteration, config.iterations)
    if config.minutes is None:
        return done
    return max(done, _share(begin.elapsed_s, state.elapsed_s, 60 * config.minutes))


def _share(begin: float, now: float, end: float) -> float:
    return (now - begin) / (end - begin) if end > begin else 1.0


def end_of_plan(state: LoopState, config: TrainConfig, reserve_s: float = 0.0) -> StopReason | None:
    """Why the run ends now by its plan; None while it does not.

    Args:
        state: Where the loop stands.
        config: The options of the run.
        reserve_s: Of the time, what is needed after the last step.
    """
    if config.minutes is not None and state.elapsed_s >= 60 * config.minutes - reserve_s:
        return "minutes"
    return "iterations" if state.iteration >= config.iterations else None


def is_out_of_patience(state: LoopState, config: TrainConfig) -> bool:
    """Whether the last validations, as many as `patience` says, brought no better adapter."""
    if config.patience is None:
        return False
    since = max(state.best_iteration, (state.schedule_start or _FIRST_STEP).iteration)
    return state.iteration - since >= config.patience * config.val_freq


def find_due(
    state: LoopState, config: TrainConfig, *, ended: bool, stop_requested: bool, pause: int | None = None
) -> Due:
    """What is due now that `state.iteration` steps are done; at the end of the plan everything is.

    Args:
        state: Where the loop stands.
        config: The options of the run.
        ended: The plan is at its end.
        stop_requested: The user wants to stop.
        pause: Where a trial pauses; it is saved there and nowhere else, so that it goes on from there only.
    """
    is_paused = state.iteration == pause
    return Due(
        log=ended or state.iteration % LOG_FREQ == 0,
        validate=ended or state.iteration % config.val_freq == 0,
        save=ended or (state.iteration % config.save_freq == 0 or stop_requested if pause is None else is_paused),
    )


def describe_end(reason: StopReason | None, state: LoopState, config: TrainConfig) -> str | None:
    """Why the run has ended, for people; None where that needs no words."""
    if reason == "minutes":
        return f"stopped at iteration {state.iteration}: the time is over (`minutes` {config.minutes:g})"
    if reason == "patience":
        validations = plural(config.patience or 0, "validation")
        return f"stopped at iteration {state.iteration}: {validations} in a row without improvement (`patience`)"
    return None
