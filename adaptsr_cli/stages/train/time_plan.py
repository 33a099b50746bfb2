"""Plan of a training that has a time to keep: measured steps and validations say how many of them fit."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch

from adaptsr_cli.adapters.attach import detach
from adaptsr_cli.artifacts.base import Method
from adaptsr_cli.artifacts.search import SearchRecord
from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.artifacts.train_state import LoopState
from adaptsr_cli.backbones.backbone import set_differentiable
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.train.init import choose_init
from adaptsr_cli.stages.train.kept_search import covers
from adaptsr_cli.stages.train.options import TrainOptions, plan_iterations, usual_rate
from adaptsr_cli.stages.train.setup import TrainingInputs, make_trainer
from adaptsr_cli.training.halving import EXTRA, LEAST_ITERATIONS, plan_halving
from adaptsr_cli.training.loop import Trainer
from adaptsr_cli.training.state import read_state
from adaptsr_cli.training.validation import StartScore
from adaptsr_cli.units import plural

VALIDATION_SHARE: Final = 0.1
"""Of the time, for validations."""

_VALIDATIONS: Final = (3, 20)
_FIRST_STEPS, _LEAST_STEPS, _MOST_STEPS = 3, 5, 200
_TIMED_S: Final = 2.0
_TIMED_SHARE: Final = 0.02  # of the time, at most
_ROOM: Final = 1.5
"""Iterations that are allowed, by those that are expected: the schedule follows the clock, so a machine that becomes
faster does more of them."""


@dataclass(frozen=True)
class Pace:
    """How fast this machine trains this network.

    Attributes:
        step_s: Seconds of a step.
        validation_s: Seconds of a validation.
        spent_s: Seconds that it took to measure.
    """

    step_s: float
    validation_s: float
    spent_s: float = 0.0


@dataclass(frozen=True)
class TimePlan:
    """What fits into the time.

    Attributes:
        iterations: Steps of the training that are expected.
        validations: How often it is scored.
        is_searching: Whether there are steps to spare for a search.
    """

    iterations: int
    validations: int
    is_searching: bool

    def describe(self, minutes: float, pace: Pace) -> str:
        """The plan in one line."""
        search = "a search for the learning rate and " if self.is_searching else ""
        return (
            f"{minutes:g} minutes: {search}about {plural(self.iterations, 'iteration')} of {pace.step_s:.2g} s, with "
            f"{self.validations} validations of {pace.validation_s:.2g} s"
        )


def plan_time(minutes: float, pace: Pace, methods: Sequence[Method] = ()) -> TimePlan:
    """Divide a time between search, steps and validations.

    Args:
        minutes: The time.
        pace: Of this machine.
        methods: Between which a search is to choose, if there is time for it; empty where none is wanted.
    """
    seconds = 60 * minutes
    fewest, most = _VALIDATIONS
    validations = max(fewest, min(most, int(VALIDATION_SHARE * seconds / max(pace.validation_s, 1e-6))))
    left_s = max(0.0, seconds - pace.spent_s - validations * pace.validation_s)
    searched, step_s = 0, pace.step_s * (1 + EXTRA)
    if methods and left_s > LEAST_ITERATIONS * step_s:
        # Its trials are scored too; how many there are depends on the number of steps.
        scored = plan_halving(methods, int(left_s / step_s)).validations
        searched = int((left_s - scored * pace.validation_s) / step_s)
    is_searching = searched >= LEAST_ITERATIONS
    iterations = searched if is_searching else int(left_s / pace.step_s)
    return TimePlan(max(1, iterations), validations, is_searching)


@dataclass(frozen=True)
class PlannedTraining:
    """A training whose length is settled.

    Attributes:
        options: With the most iterations that it may have.
        iterations: That it is expected to have.
        validation_s: Seconds of a validation, where there is a time to keep.
        spent_s: Seconds that were spent on planning.
        start: The score before the first step, where planning has measured it.
        known: What an earlier search on the same network and images has found, in place of another one.
    """

    options: TrainOptions
    iterations: int
    validation_s: float = 0.0
    spent_s: float = 0.0
    start: StartScore | None = None
    known: SearchRecord | None = None

    def reserve(self, *, is_new: bool) -> float:
        """Seconds that the training's own clock does not count.

        Args:
            is_new: Nothing was trained before; the clock of a training that goes on has counted the planning.
        """
        return self.validation_s + (self.spent_s if is_new else 0.0)


def plan_training(
    options: TrainOptions,
    inputs: TrainingInputs,
    progress: Progress,
    known: SearchRecord | None = None,
    methods: Sequence[Method] = (),
) -> PlannedTraining:
    """Settle how long a training is, and how often it is validated, by `iterations` and `minutes`.

    A training or a search that is there already goes on as it was planned; with another time the pace that it had says
    how much more fits.

    Args:
        options: What the user asked for.
        inputs: What is trained on what.
        progress: Told the plan before anything of it is done.
        known: What an earlier search has found, which saves another one where it was long enough.
        methods: Between which to choose, the one to prefer first.
    """
    minutes = options.minutes
    if minutes is None:
        iterations = plan_iterations(options)
        return PlannedTraining(options, iterations, known=known if covers(known, iterations) else None)
    # Asked by one process, so that all do the same.
    saved = inputs.world.gather(_saved_state(inputs.opened.run))[0]
    if saved is not None and saved.plan.config.minutes == minutes:
        options = _planned(options, saved.plan.config)
        expected = inputs.world.from_main(lambda: _expected(inputs.opened.run))
        length = expected or round((options.iterations or 1) / _ROOM)
        return PlannedTraining(options, length, saved.validation_s)
    if saved is not None and saved.iteration:
        pace = Pace(saved.elapsed_s / saved.iteration, 0.0)  # with the validations that were between the steps
        more = plan_time(max(0.0, minutes - saved.elapsed_s / 60), pace)
        options = options.model_copy(update={"accumulate": _planned(options, saved.plan.config).accumulate})
        planned = _with_plan(options, saved.iteration + more.iterations, more.validations, pace)
        return replace(planned, validation_s=saved.validation_s)
    first = methods[0] if methods else options.named_method
    options, pace, start = _measure(options, inputs, first, progress)
    plan = plan_time(minutes, pace)
    if not covers(known, min(plan.iterations, options.iterations or plan.iterations)):
        known = None
    if options.seeks_rate and options.seeks_psnr and known is None:
        plan = plan_time(minutes, pace, methods)
    progress.note(plan.describe(minutes, pace))
    return replace(_with_plan(options, plan.iterations, plan.validations, pace), start=start, known=known)


def _with_plan(options: TrainOptions, iterations: int, validations: int, pace: Pace) -> PlannedTraining:
    """The options with room for more steps than are expected, but for no more than were asked for."""
    most = math.ceil(_ROOM * iterations)
    if options.iterations is not None:
        iterations, most = min(iterations, options.iterations), min(most, options.iterations)
    often = max(1, iterations // validations)
    update = {
        "iterations": most,
        "val_freq": options.val_freq or often,
        "save_freq": options.save_freq or often,
    }
    return PlannedTraining(options.model_copy(update=update), iterations, pace.validation_s, pace.spent_s)


def _expected(run: RunFolder) -> int | None:
    """Steps that a training was expected to have when its search was planned; None where none was stopped."""
    if run.training.state.exists() or not run.search.exists():
        return None
    return read_document(run.search, SearchRecord).planned_iterations


def _planned(options: TrainOptions, config: TrainConfig) -> TrainOptions:
    """The options with the plan of the saved training, as far as nothing else was said.

    The time allowed no more steps than it has, and its batch may have been too large for the memory.
    """
    update = {
        "iterations": min(options.iterations or config.iterations, config.iterations),
        "val_freq": options.val_freq or config.val_freq,
        "save_freq": options.save_freq or config.save_freq,
        "accumulate": options.given().get("accumulate", config.accumulate),
    }
    return options.model_copy(update=update)


def _saved_state(run: RunFolder) -> LoopState | None:
    """Of the training that is there, or of a trial of the search that is there; None where there is none."""
    states = [run.training.state, *sorted(run.trials.glob("*/training/state.safetensors"))]
    return next((read_state(path)[0] for path in states if path.exists()), None)


def _measure(
    options: TrainOptions, inputs: TrainingInputs, method: Method, progress: Progress
) -> tuple[TrainOptions, Pace, StartScore | None]:
    """Time some steps of a method and a validation, whose score is that of the start.

    A batch that does not fit into the device's memory is computed in parts.
    """
    rate = usual_rate(options.preset, method)
    run, begin = RunFolder(inputs.opened.run.training.root / "pace"), time.perf_counter()
    with inputs.world.rank_zero_first():
        if inputs.world.is_main_process:
            shutil.rmtree(run.root, ignore_errors=True)  # of a measurement that was killed
    while True:
        settled = options.model_copy(
            update={"method": method, "learning_rate": rate, "iterations": None, "minutes": None, "val_freq": None}
        )
        trainer = make_trainer(choose_init(settled, inputs.plan, SILENT), inputs, run, progress)
        try:
            pace = _time(trainer, min(_TIMED_S, _TIMED_SHARE * 60 * (options.minutes or 1)))
            # Of the slowest process, so that all plan the same.
            (spent_s,) = inputs.world.all_reduce_max([time.perf_counter() - begin])
            return options, replace(pace, spent_s=spent_s), trainer.start
        except torch.OutOfMemoryError:
            parts = 2 * options.accumulate
            if parts * inputs.world.size > trainer.plan.config.batch:
                raise
            progress.note(f"the batch does not fit into the memory: `accumulate` {parts}")
            options = options.model_copy(update={"accumulate": parts})
        finally:
            set_differentiable(trainer.backbone, False)
            detach(trainer.attachment)
            if inputs.world.is_main_process:
                shutil.rmtree(run.root, ignore_errors=True)


def _time(trainer: Trainer, timed_s: float) -> Pace:
    """The pace of a trainer that is new, by steps that take about so many seconds."""
    begin = time.perf_counter()
    trainer.start = trainer.score_start()
    trainer.joint_score(trainer.start.backbone_psnr_y_db)
    validation_s = time.perf_counter() - begin
    pace_s = 1.0
    # The first steps are slower, and say how many it takes to measure.
    for steps in (_FIRST_STEPS, None):
        trainer.pause = steps or _FIRST_STEPS + max(_LEAST_STEPS, min(_MOST_STEPS, math.ceil(timed_s / pace_s)))
        # The slowest process decides, so that all measure as many steps.
        (pace_s,) = trainer.world.all_reduce_max([trainer.run(SILENT).seconds_per_iteration or pace_s])
    validation_s, pace_s = trainer.world.all_reduce_max([validation_s, pace_s])
    return Pace(pace_s, validation_s)
