"""Search for method and learning rate: short trainings on the same batches, of which the best goes on.

A trial is a training in a folder of its own, saved where it pauses, so that a killed search goes on. The winner's
files become those of the run: the training that follows is, bit for bit, the one that its learning rate gives by
``--lr``. Several processes train each trial together; the first one keeps the record, and tells the others.
"""

from __future__ import annotations

import math
import shutil
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Final

from adaptsr_cli.artifacts.base import Method
from adaptsr_cli.artifacts.search import RateBound, SearchRecord, Trial, TrialScore
from adaptsr_cli.artifacts.train_state import LoopState, ScheduleStart
from adaptsr_cli.distributed import World
from adaptsr_cli.errors import Interrupted
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.progress import Progress, Within
from adaptsr_cli.report.figures import draw_search
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.train.init import choose_init
from adaptsr_cli.stages.train.kept_search import keep_search
from adaptsr_cli.stages.train.options import TrainOptions, continued_precision
from adaptsr_cli.stages.train.rate_bound import adapted, find_bound, settle_trial
from adaptsr_cli.stages.train.setup import TrainingInputs
from adaptsr_cli.stages.train.time_plan import PlannedTraining
from adaptsr_cli.training.halving import (
    LEAST_ITERATIONS,
    Halving,
    best_of,
    mark_small_leads,
    mark_unstable,
    plan_halving,
    rates_to_try,
)
from adaptsr_cli.training.log import read_log
from adaptsr_cli.training.recovery import peak_rate, tolerated_fall_db
from adaptsr_cli.training.state import read_state, write_state
from adaptsr_cli.training.validation import StartScore
from adaptsr_cli.units import format_seconds

SMALL_PARAMS: Final = 1_500_000
"""Networks up to this size are better off with full updates of the planned sites than with low-rank ones, two window
transformers as well as small convolutional networks (`benchmarks/auto_rate.py`); larger ones were not measured."""

LONG_S: Final = 1800.0
"""Above so many seconds of work the user is told before it begins."""


def settle_method(planned: PlannedTraining, inputs: TrainingInputs, progress: Progress) -> TrainOptions:
    """The options with a method, a learning rate and an initialisation; where they are left open, by a search.

    A training that is there already decides them: what it was begun with goes on.

    Args:
        planned: What the user asked for, of a settled length.
        inputs: What is trained on what.
        progress: Told what the search will do, and what it found.

    Raises:
        Interrupted: The user stopped the search; the same command goes on with it.
        UsageError: The method does not obey one of the options.
    """
    options, run, world = planned.options, inputs.opened.run, inputs.world
    _take_over_winner(run, world)
    searched, rate, precision = open_methods(options, inputs), options.learning_rate, options.precision
    method = searched[0]
    # Asked by one process, so that all do the same.
    if world.gather(run.training.state.exists())[0]:
        config = read_state(run.training.state)[0].plan.config
        method = config.method if options.method == "auto" else method
        rate = config.learning_rate if options.seeks_rate else rate
        precision = continued_precision(options, config)
    elif planned.known is not None:
        method, rate = _reuse(planned.known, run, world, progress)
    elif options.seeks_rate and (obstacle := _obstacle(options, planned.iterations)) is not None:
        rate = _rate_without_search(options, inputs, method, obstacle, progress)
    elif options.seeks_rate:
        record = _Search(planned, inputs, searched, progress).run()
        if world.is_main_process:
            keep_search(record, options, inputs, searched, progress)
        _take_over_winner(run, world)
        winner = record.winner
        assert winner is not None
        method, rate = winner.method, winner.learning_rate
        progress.note(
            f"the learning rate is {winner.last_rate:.2g} with `method` {method}, found by {len(record.trials)} trials "
            f"({run.search}); the training goes on from step {winner.iterations} of that trial"
        )
        if not winner.scores[-1].stable:
            progress.warn(
                "none of the learning rates was stable in the search: the training goes on with the best of them, and "
                "lowers it where it fails; a smaller `learning_rate` may do better"
            )
    settled = options.model_copy(update={"method": method, "learning_rate": rate, "precision": precision})
    return choose_init(settled, inputs.plan, progress)


def open_methods(options: TrainOptions, inputs: TrainingInputs) -> tuple[Method, ...]:
    """The methods between which to choose, the one to prefer first, which it is without a search or by a short one.

    Low-rank updates are the paper's, those that a perceptual adapter was measured with, and what some options speak of.
    """
    if options.method != "auto":
        return (options.method,)
    asks_low_rank = (
        options.preset == "paper"
        or not options.seeks_psnr
        or bool(options.low_rank_options)
        or inputs.plan.rank_map.start_sha256 is not None
    )
    params = inputs.opened.backbone.identity.params
    if asks_low_rank or params > SMALL_PARAMS:
        return ("lora",)
    return ("full", "lora")


def _reuse(known: SearchRecord, run: RunFolder, world: World, progress: Progress) -> tuple[Method, float]:
    """The method and the rate that an earlier search has found, which becomes the record of this run too."""
    assert known.winner is not None
    if world.is_main_process:
        shutil.rmtree(run.trials, ignore_errors=True)
        write_document(run.search, known)
        draw_search(run.search_picture, known)
    rate, method = known.winner.last_rate, known.winner.method
    progress.note(
        f"the learning rate is {rate:.2g} with `method` {method}, as an earlier search on this network and these "
        "images found (`force` searches anew)"
    )
    return method, rate


def _obstacle(options: TrainOptions, iterations: int) -> str | None:
    """Why no search is possible; None where one is."""
    if not options.seeks_psnr:
        return "`objective` perceptual gives up the score that would decide"
    if iterations < LEAST_ITERATIONS:
        return f"it needs `iterations` {LEAST_ITERATIONS} or more"
    return None


def _rate_without_search(
    options: TrainOptions, inputs: TrainingInputs, method: Method, obstacle: str, progress: Progress
) -> float | None:
    """What the network bears of the preset's rate; None for all of it."""
    progress.note(f"no search for the learning rate, since {obstacle}: it is the preset's")
    bound, _ = find_bound(options, inputs, method, progress)
    if bound.highest == bound.usual:
        return None
    progress.note(bound.describe())
    return bound.highest


@dataclass
class _Search:
    """One search, from its beginning or from where it was stopped.

    Attributes:
        planned: The training that the winner goes on to.
        methods: Between which to choose.
    """

    planned: PlannedTraining
    inputs: TrainingInputs
    methods: tuple[Method, ...]
    progress: Progress
    _start: StartScore | None = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.planned.start

    def run(self) -> SearchRecord:
        """Train the trials that are missing; every score is written at once, and the winner at the end."""
        run, world = self.inputs.opened.run, self.inputs.world
        plan, begin_s = plan_halving(self.methods, self.planned.iterations), time.perf_counter()
        with self.progress.task("search", plan.all_iterations, unit="it") as task:
            tried = dict.fromkeys(method for method, _ in plan.trials)
            found = [find_bound(self.planned.options, self.inputs, method, self.progress) for method in tried]
            bounds = tuple(bound for bound, _ in found)
            spent_s = self.planned.spent_s + time.perf_counter() - begin_s
            record = world.from_main(lambda: self._open_record(plan, bounds))
            self._tell(record, plan, max(step_s for _, step_s in found))
            going, begin = list(range(len(record.trials))), 0
            for number, round_ in enumerate(plan.rounds):
                for place in going:
                    trial, steps = record.trials[place], Within(task, begin)
                    task.show(trial=f"{trial.method} {trial.learning_rate:.1e}", val="")
                    if len(trial.scores) <= number:
                        record = record.with_score(place, number, self._train(trial, round_.end, steps))
                        if world.is_main_process:
                            write_document(run.search, record)
                    task.skip(round_.end - steps.done)  # of one that was there, or that has ended before
                    task.show(val=record.trials[place].scores[number].describe())
                trials = {place: record.trials[place] for place in going}
                methods = {place: trial.method for place, trial in trials.items()}
                rates = {place: trial.last_rate for place, trial in trials.items()}
                scores = mark_unstable({place: trial.scores[number] for place, trial in trials.items()}, methods)
                scores = mark_small_leads(scores, methods, rates)
                for place, score in scores.items():
                    record = record.with_score(place, number, score)
                going, begin = best_of(scores, round_.keep), round_.end
        seconds = spent_s + sum(score.seconds for trial in record.trials for score in trial.scores)
        record = record.model_copy(update={"winner_place": going[0], "seconds": seconds})
        if world.is_main_process:
            write_document(run.search, record)
            draw_search(run.search_picture, record)
        return record

    def _open_record(self, plan: Halving, bounds: tuple[RateBound, ...]) -> SearchRecord:
        """The record of the search that was stopped here, if it is the same one; else a new one."""
        opened, rates = self.inputs.opened, {bound.method: rates_to_try(bound) for bound in bounds}
        new = SearchRecord(
            backbone_sha256=opened.backbone.identity.sha256,
            data_fingerprint=opened.data.fingerprint,
            seed=self.planned.options.seed,
            planned_iterations=self.planned.iterations,
            bounds=bounds,
            trials=tuple(Trial(method=method, learning_rate=rates[method][place]) for method, place in plan.trials),
        )
        if opened.run.search.exists():
            known = read_document(opened.run.search, SearchRecord)
            if known.without_scores() == new:
                return known
        shutil.rmtree(opened.run.trials, ignore_errors=True)
        return new

    def _tell(self, record: SearchRecord, plan: Halving, step_s: float) -> None:
        """Say what will be done, and how long it takes where that is long: the bar is of the search alone."""
        for bound in record.bounds:
            if bound.highest < bound.usual:
                self.progress.note(bound.describe())
        rates = ", ".join(f"{trial.method} {trial.learning_rate:.2g}" for trial in record.trials)
        self.progress.note(f"searching for the learning rate: {plan.describe(record.planned_iterations)} ({rates})")
        seconds = step_s * (plan.all_iterations - plan.rounds[-1].end + record.planned_iterations)
        if self.inputs.device.type == "cpu" and self.planned.options.minutes is None and seconds > LONG_S:
            self.progress.note(
                f"a step takes about {format_seconds(step_s)} here: with the search this training takes "
                f"{format_seconds(seconds)} or more; `minutes` 30 plans both for half an hour"
            )

    def _train(self, trial: Trial, end: int, steps: Progress) -> TrialScore:
        """Train one trial to the end of a round, whose `steps` are counted; the network is then as before."""
        begin, world = time.perf_counter(), self.inputs.world
        run = trial_folder(self.inputs.opened.run, trial)
        state = run.training.state
        with world.rank_zero_first():
            if world.is_main_process and state.exists() and read_state(state)[0].iteration == end:
                shutil.rmtree(run.root)  # killed before its score was written, which is made of its steps
        options = settle_trial(self.planned.options, self.inputs, trial.method, trial.learning_rate)
        with adapted(options, self.inputs, run, self.progress) as trainer:
            trainer.pause, trainer.start = end, self._start
            try:
                outcome = trainer.run(steps)
            except Interrupted as stop:
                raise Interrupted(
                    f"{str(stop).partition(' at ')[0]} in the search for the learning rate; its scores are saved",
                    "the same command goes on with it",
                ) from None
            self._start = self._start or trainer.start
            with outcome.average.in_place() if outcome.average is not None else nullcontext():
                gain_db = trainer.score() - outcome.state.backbone_psnr_y_db
        seconds = time.perf_counter() - begin
        # By the first process, which alone has written the log.
        planned = self.planned.iterations
        return world.from_main(lambda: _to_score(outcome.state, gain_db, trainer.folder.log, planned, seconds))


def _to_score(state: LoopState, gain_db: float, log: Path, planned: int, seconds: float) -> TrialScore:
    """What a trial of this state has shown.

    Args:
        state: At the end of a round.
        gain_db: Of its average over the backbone.
        log: Of its losses and held-out scores.
        planned: Iterations that the whole training is expected to have; with a time to keep it may have more.
        seconds: That this round has taken.
    """
    # One that had to lower its rate shows nothing about the rate that it was begun with. Few held-out images may come
    # back from a fall, so training bears it, but a rate without one is the better choice.
    since = state.rate_cuts[-1].iteration if state.rate_cuts else 0
    rows = [row for row in read_log(log) if row.iteration > since]
    losses = [row.loss for row in rows if row.loss is not None]
    if state.pending_losses:  # of the steps since the last row, which may be the first ones that fail
        losses.append(fmean(parts["loss"] for parts in state.pending_losses))
    gains = [
        (row.iteration, row.val_psnr_y_db - state.backbone_psnr_y_db) for row in rows if row.val_psnr_y_db is not None
    ]
    has_fallen = any(
        gain < -tolerated_fall_db(iteration / planned, few_images=False)
        for iteration, gain in (*gains, (state.iteration, gain_db))
    )
    return TrialScore(
        iteration=state.iteration,
        gain_db=gain_db if math.isfinite(gain_db) else None,
        learning_rate=peak_rate(state) if state.rate_cuts else None,
        losses=tuple(losses),
        seconds=seconds,
        stable=not has_fallen,
    )


def trial_folder(run: RunFolder, trial: Trial) -> RunFolder:
    """The run folder of one trial."""
    return RunFolder(run.trials / f"{trial.method}-{trial.learning_rate:.6g}")


def _take_over_winner(run: RunFolder, world: World) -> None:
    """Make the winner's training that of the run, where a search has ended and this is not done yet."""
    with world.rank_zero_first():
        if world.is_main_process:
            _move_winner(run)


def _move_winner(run: RunFolder) -> None:
    if not (run.trials.exists() and run.search.exists()):
        return
    record = read_document(run.search, SearchRecord)
    if record.winner is None:
        return
    winner = trial_folder(run, record.winner)
    if winner.training.state.exists():
        state, tensors = read_state(winner.training.state)
        begin = ScheduleStart(iteration=0, elapsed_s=max(0.0, record.seconds - state.elapsed_s))
        update = {"elapsed_s": record.seconds, "schedule_start": begin}
        write_state(run.training.state, state.model_copy(update=update), tensors)
        winner.training.state.unlink()
    for path in sorted(winner.training.root.iterdir()) if winner.training.root.exists() else ():
        target = run.training.root / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)
    if winner.adapter.exists():  # after the state, without which an adapter is taken for a stranger's
        winner.adapter.replace(run.adapter)
    shutil.rmtree(run.trials, ignore_errors=True)
