"""The adaptation loop: only the adapter trains; readable from top to bottom."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.artifacts.train_state import LoopState, RunFingerprint
from adaptsr_cli.backbones.backbone import Backbone, set_differentiable
from adaptsr_cli.data.prefetch import BatchSource, Prefetcher, pin
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import Interrupted
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import upscale_batch
from adaptsr_cli.io.atomic import drop_old_partial_files
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.progress import Progress, Task
from adaptsr_cli.runtime import freed_memory_kept
from adaptsr_cli.training.cuda_graph import RecordedStep
from adaptsr_cli.training.due import describe_end, end_of_plan, find_due, finished_share, is_out_of_patience
from adaptsr_cli.training.ema import AdapterAverage, make_average
from adaptsr_cli.training.folder import TrainingFolder
from adaptsr_cli.training.log import append_row, cut_log
from adaptsr_cli.training.losses import LossLog, are_finite, mean_parts, read_losses
from adaptsr_cli.training.objective import Objective
from adaptsr_cli.training.optimizer import JointOptimizer, make_optimizer
from adaptsr_cli.training.recovery import (
    LEAST_LOSS_DB,
    NOT_FINITE,
    Fault,
    describe_resuming,
    find_fault,
    judges_mean,
    keeps,
    lower_rate,
    note_joint_score,
    rate_now,
)
from adaptsr_cli.training.resource_usage import ResourceUsage
from adaptsr_cli.training.signals import catch_stop
from adaptsr_cli.training.state import TrainState, continue_run, read_state, restore, save_state
from adaptsr_cli.training.step import GradientStep
from adaptsr_cli.training.tensorboard import TensorBoard
from adaptsr_cli.training.validation import StartScore, Upscale, Validator
from adaptsr_cli.units import plural


@dataclass(frozen=True)
class TrainingOutcome:
    """How a run ended.

    Attributes:
        state: The last state.
        seconds_per_iteration: Of this sitting, validation left out; None where nothing was left to train.
        average: What is validated and kept; None where it is the last step.
    """

    state: LoopState
    seconds_per_iteration: float | None
    average: AdapterAverage | None


@dataclass
class Trainer:
    """One run: what is trained, on what, and where its files are.

    Attributes:
        batches: This process's share of every batch.
        objective: What is minimised.
        keep_best: Called with the adapter and the position whenever validation has improved; in the first process.
        world: The processes that train together; each holds the same adapter at every moment.
        share: How much of every batch `batches` gives, in (0, 1].
        tensorboard: Write event files too.
        checkpointed: Names of blocks that are computed again in the backward pass, to save memory.
        start: The score before the first step, where it is known.
        reserve_s: Of the `minutes`, what the last validation needs.
        pause: Stop at this iteration as if the process had ended after a save; None: train to the end.
        expected_iterations: To which the progress bar counts; None: as many as the plan allows.
    """

    backbone: Backbone
    attachment: Attachment
    batches: BatchSource
    validator: Validator
    objective: Objective
    plan: RunFingerprint
    folder: TrainingFolder
    device: torch.device
    keep_best: Callable[[Attachment, LoopState], None]
    world: World = SINGLE_PROCESS
    share: float = 1.0
    tensorboard: bool = False
    checkpointed: Sequence[str] = ()
    start: StartScore | None = None
    reserve_s: float = 0.0
    pause: int | None = None
    expected_iterations: int | None = None
    _board: TensorBoard | None = field(default=None, init=False)
    _warned: bool = field(default=False, init=False)

    def run(self, progress: Progress) -> TrainingOutcome:
        """Train from the saved state, or from the start, to the end of the plan.

        Raises:
            Interrupted: SIGINT or SIGTERM arrived; the state was saved.
            TrainingError: The loss stopped being finite; the last good state is on disk.
            ArtifactError: The folder holds another run.
            GroupError: Another process has ended; the last saved state is on disk.
        """
        config = self.plan.config
        groups = self.attachment.parameter_groups(config.lora_plus)
        optimizer = make_optimizer(config.optimizer, groups, config.learning_rate, self.device)
        average = make_average(config, list(self.attachment.parameters()))
        train_state = TrainState(self.attachment, optimizer, self.objective, average)
        state = self._start(train_state, progress)
        if state.finished:
            return TrainingOutcome(state, None, average)
        first, reason = state.iteration, None
        pending: list[LossLog] = [dict(losses) for losses in state.pending_losses]
        gradients = self.gradients()
        step = RecordedStep(
            lambda lr, hr: self._step(gradients, optimizer, lr, hr, state.iteration),
            self.device,
            progress.note,
            obstacle=self._obstacle(),
        )
        with (
            catch_stop() as stop,
            self._ahead(first) as batches,
            ResourceUsage(state, batches, self.device) as usage,
            self._watched(first),
            freed_memory_kept(self.device),
            progress.task("train", self.expected_iterations or config.iterations, unit="it") as task,
        ):
            task.skip(first)
            set_differentiable(self.backbone, True)
            while reason is None and state.iteration != self.pause:
                rate = rate_now(state, config)
                optimizer.set_rate(rate)
                batch = batches.sample(state.iteration)
                pending.append({**step.run(batch.lr, batch.hr)})
                if average is not None:
                    average.update()
                # Agreed upon, so that all processes stop, validate and save at the same iteration.
                elapsed_s, stopping = self.world.all_reduce_max([usage.elapsed_s, float(stop.name is not None)])
                state = state.model_copy(update={"iteration": state.iteration + 1, "elapsed_s": elapsed_s})
                task.advance()

                reason = end_of_plan(state, config, self.reserve_s)
                due = find_due(state, config, ended=reason is not None, stop_requested=stopping > 0, pause=self.pause)
                if due.anything:
                    pending = read_losses(pending, self._reduce)
                    if not (are_finite(pending) and self.attachment.is_finite()):  # losses are of before the step
                        state = self._lower_rate(state, train_state, NOT_FINITE, progress)
                        pending, due = [], replace(due, log=False, validate=False)
                if due.log:
                    self._log_loss(pending, state.iteration, rate, task)
                    pending = []
                if due.validate:
                    with usage.not_counted():
                        state, score = self._validate(state, train_state, task)
                    seeks_psnr, few_images = self.objective.seeks_psnr, self.validator.has_few
                    fault = find_fault(score, state, seeks_psnr=seeks_psnr, few_images=few_images)
                    if fault is not None and not is_out_of_patience(state, config):
                        state = self._lower_rate(state, train_state, fault, progress)
                    else:
                        self._warn_if_worse(score, state, progress)
                if reason is None and is_out_of_patience(state, config):
                    reason = "patience"
                if due.save or reason is not None:
                    state = self._save(state, train_state, pending, usage, finished=reason is not None)
                if stopping and reason is None:
                    raise Interrupted(
                        f"stopped by {stop.name or 'another process'} at iteration {state.iteration} of "
                        f"{config.iterations}; saved",
                        "the same command resumes from here",
                    )
            set_differentiable(self.backbone, False)
            spent_s = usage.counted_s
        if (said := describe_end(reason, state, config)) is not None:
            progress.note(said)
        return TrainingOutcome(state, spent_s / (state.iteration - first), average)

    def score(self) -> float:
        """Held-out PSNR-Y in dB of the network as it stands."""
        return self.validator.score(self._upscale(), or_black=True).psnr_y_db

    def joint_score(self, held_out_db: float) -> float | None:
        """The same together with images that are trained on; None where enough are held out, or it decides nothing."""
        if not judges_mean(self.plan.config, seeks_psnr=self.objective.seeks_psnr):
            return None
        return self.validator.joint_psnr_y_db(self._upscale(), held_out_db)

    def gradients(self) -> GradientStep:
        """The forward and backward pass of a batch."""
        config = self.plan.config
        return GradientStep(
            self.backbone,
            self.attachment,
            self.objective,
            device=self.device,
            precision=config.precision,
            accumulate=config.accumulate,
            checkpointed=self.checkpointed,
        )

    def _save(
        self,
        state: LoopState,
        train_state: TrainState,
        pending: Sequence[LossLog],
        usage: ResourceUsage,
        finished: bool,
    ) -> LoopState:
        """Complete the state with losses and resource usage, and write it; its losses are numbers by now."""
        numbers = tuple({name: float(value) for name, value in losses.items()} for losses in pending)
        state = state.model_copy(update={"finished": finished, "pending_losses": numbers, **usage.totals()})
        if self.world.is_main_process:
            save_state(self.folder.state, state, train_state)
        return state

    def _warn_if_worse(self, score: float, state: LoopState, progress: Progress) -> None:
        """Warn once, in the second half of a run, that the held-out score is below the backbone's."""
        worse = score < state.backbone_psnr_y_db - LEAST_LOSS_DB and self.objective.seeks_psnr
        if worse and not self._warned and finished_share(state, self.plan.config) >= 0.5:
            self._warned = True
            progress.warn(
                f"at iteration {state.iteration} the held-out score is below the backbone's "
                f"({score:.2f} < {state.backbone_psnr_y_db:.2f} dB); a smaller `learning_rate` may help"
            )

    def _ahead(self, first: int) -> Prefetcher:
        """The batches, made while the step before is computed."""
        last = self.plan.config.iterations
        if self.device.type != "cuda":
            # One thread: the training itself keeps all cores busy.
            return Prefetcher(self.batches, first, last)
        workers = max(1, min(8, (os.cpu_count() or 1) // (2 * self.world.size)))
        return Prefetcher(self.batches, first, last, ahead=2 * workers, workers=workers, prepare=pin)

    def _start(self, train_state: TrainState, progress: Progress) -> LoopState:
        """The saved state, put back; or a new one with the backbone's own score."""
        # Asked by one process, since a moment later it may write that very file.
        resuming = self.world.gather(self.folder.state.exists())[0]
        if self.world.is_main_process:
            for folder in (self.folder.root, self.folder.samples):
                drop_old_partial_files(folder)
        if resuming:
            saved, tensors = read_state(self.folder.state)
            state = continue_run(saved, self.plan, self.folder.root)
            restore(tensors, train_state, self.folder.state)
            if self.world.is_main_process:
                cut_log(self.folder.log, state.iteration)
                if state.iteration == 0:  # killed between saving the first state and keeping the first adapter
                    self._keep_best(state, train_state)
            if not state.finished:
                progress.note(describe_resuming(state, saved))
            return state
        if self.world.is_main_process:
            self.folder.root.mkdir(parents=True, exist_ok=True)
            self.folder.log.unlink(missing_ok=True)
        self.start = self.start or self.score_start()
        validation, before = self.start.validation, self.start.backbone_psnr_y_db
        score = validation.psnr_y_db
        state = LoopState(
            plan=self.plan, iteration=0, backbone_psnr_y_db=before, best_psnr_y_db=score, best_iteration=0
        )
        if self.world.is_main_process:
            self._keep_sample(validation.sample, 0)
            append_row(self.folder.log, LogRow(iteration=0, val_psnr_y_db=score))
            save_state(self.folder.start, state, train_state)
            save_state(self.folder.state, state, train_state)
            self._keep_best(state, train_state)
        on = f"on {plural(len(self.validator), 'held-out image')}"
        if self.plan.config.init == "adapter":
            progress.note(f"adapter before this training: {score:.2f} dB PSNR-Y {on} (backbone {before:.2f} dB)")
        else:
            what = "backbone" if self.plan.base is None else "network with the adapter below"
            progress.note(f"{what} before training: {score:.2f} dB PSNR-Y {on}")
        return state

    def score_start(self) -> StartScore:
        """The score of the adapter before the first step, and of the backbone where that is another."""
        validation = self.validator.score(self._upscale())
        if self.plan.config.init != "adapter":
            return StartScore(validation, validation.psnr_y_db)
        with self.attachment.switched_off():
            return StartScore(validation, self.score())

    def _obstacle(self) -> str | None:
        """Why the step must not be recorded as a CUDA graph."""
        if self.world.size > 1:
            return "several processes train together"
        return None if self.objective.is_steady else f"--objective {self.objective.name} changes on the way"

    def _step(
        self, gradients: GradientStep, optimizer: JointOptimizer, lr: Tensor, hr: Tensor, iteration: int
    ) -> dict[str, Tensor]:
        """One optimiser step; returns the detached losses of this share without waiting for the device."""
        means, outputs = gradients.run(lr, hr, iteration)
        self._reduce(means.put_back())
        optimizer.step()
        found = means.losses | self.objective.after_step(outputs, hr, iteration, self._reduce)
        return found if len(found) > 2 else {"loss": found["loss"]}

    def _reduce(self, means: Sequence[Tensor]) -> None:
        """Replace means over this process's share of a batch by means over the whole batch."""
        if self.world.size > 1:
            for mean in means:
                mean.mul_(self.share)
            self.world.all_reduce_sum_(means)

    def _lower_rate(self, state: LoopState, train_state: TrainState, fault: Fault, progress: Progress) -> LoopState:
        """Go back to a good state with a lower rate, and say so."""
        state, said = lower_rate(state, train_state, self.folder, fault)
        (progress.note if fault.spares_best else progress.warn)(said)
        return state

    def _keep_best(self, state: LoopState, train_state: TrainState) -> None:
        """Write the adapter that is the best so far, and the state to go back to."""
        save_state(self.folder.good, state, train_state)
        self.keep_best(self.attachment, state)

    def _log_loss(self, pending: Sequence[LossLog], iteration: int, lr: float, task: Task) -> None:
        means = mean_parts(pending)
        loss = means.pop("loss")
        self._log(LogRow(iteration=iteration, loss=loss, parts=means or None, learning_rate=lr))
        task.show(loss=f"{loss:.4f}", lr=f"{lr:.1e}")

    def _validate(self, state: LoopState, train_state: TrainState, task: Task) -> tuple[LoopState, float]:
        """Score the network as it stands and keep it if it is the best so far."""
        begin = time.perf_counter()
        set_differentiable(self.backbone, False)
        with train_state.average.in_place() if train_state.average is not None else nullcontext():
            validation = self.validator.score(self._upscale(), or_black=True)
            score = validation.psnr_y_db
            state = note_joint_score(state, self.joint_score(score))
            improved = keeps(score, state, seeks_psnr=self.objective.seeks_psnr)
            if improved:
                state = state.model_copy(update={"best_psnr_y_db": score, "best_iteration": state.iteration})
                if self.world.is_main_process:
                    self.keep_best(self.attachment, state)
        if improved and self.world.is_main_process:
            save_state(self.folder.good, state, train_state)
        set_differentiable(self.backbone, True)
        self._log(LogRow(iteration=state.iteration, val_psnr_y_db=score))
        if self.world.is_main_process:
            self._keep_sample(validation.sample, state.iteration)
        task.show(val=f"{score:.2f} dB ({score - state.backbone_psnr_y_db:+.2f})")
        (seconds,) = self.world.all_reduce_max([time.perf_counter() - begin])
        return state.model_copy(update={"validation_s": seconds}), score

    def _upscale(self) -> Upscale:
        return partial(upscale_batch, Upscaler(self.backbone, device=self.device, precision="fp32", tile_px=0))

    @contextmanager
    def _watched(self, iteration: int) -> Iterator[None]:
        """With TensorBoard open, where it is wanted and this process writes."""
        if not (self.tensorboard and self.world.is_main_process):
            yield
            return
        with TensorBoard(self.folder.tensorboard, iteration) as self._board:
            if iteration == 0 and self.start is not None:  # scored before the files were open
                self._board.add(LogRow(iteration=0, val_psnr_y_db=self.start.validation.psnr_y_db))
                self._board.add_sample(self.start.validation.sample, 0)
            yield
        self._board = None

    def _log(self, row: LogRow) -> None:
        if self.world.is_main_process:
            append_row(self.folder.log, row)
        if self._board is not None:
            self._board.add(row)

    def _keep_sample(self, sample: np.ndarray, iteration: int) -> None:
        write_rgb(self.folder.samples / f"{iteration:06d}.png", sample)
        if self._board is not None:
            self._board.add_sample(sample, iteration)
