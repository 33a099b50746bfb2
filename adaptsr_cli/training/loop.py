"""The adaptation loop: only the low-rank factors train; readable from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import parametrize

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.artifacts import LogRow
from adaptsr_cli.backbones.backbone import Backbone, set_differentiable, super_resolve
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.errors import Interrupted, TrainingError
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.progress import Progress, Task
from adaptsr_cli.runtime import autocast
from adaptsr_cli.training.log import append_row, cut_log
from adaptsr_cli.training.objective import fidelity_loss
from adaptsr_cli.training.schedule import learning_rate
from adaptsr_cli.training.signals import catch_stop
from adaptsr_cli.training.state import LoopState, RunPlan, read_state, require_same_run, restore, save_state
from adaptsr_cli.training.validation import Validator
from adaptsr_cli.units import format_seconds, plural

LOG_FREQ = 10


class BatchSource(Protocol):
    """Where batches come from; a pure function of the iteration, so that a run can go on anywhere."""

    def sample(self, iteration: int) -> Batch:
        """The batch of one iteration."""


@dataclass(frozen=True)
class TrainingFolder:
    """The files of one training run."""

    root: Path

    @property
    def state(self) -> Path:
        """Adapter, optimiser and position after the last save."""
        return self.root / "state.safetensors"

    @property
    def log(self) -> Path:
        """One JSON object a line."""
        return self.root / "log.jsonl"

    @property
    def samples(self) -> Path:
        """One held-out image at every validation."""
        return self.root / "samples"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: The last state.
        seconds_per_iteration: Of this sitting, validation left out; None where nothing was left to train.
    """

    state: LoopState
    seconds_per_iteration: float | None


@dataclass
class Trainer:
    """One run: what is trained, on what, and where its files are.

    Attributes:
        keep_best: Called with the adapter and the position whenever validation has improved.
    """

    backbone: Backbone
    attachment: Attachment
    batches: BatchSource
    validator: Validator
    plan: RunPlan
    folder: TrainingFolder
    device: torch.device
    keep_best: Callable[[Attachment, LoopState], None]

    def run(self, progress: Progress) -> Outcome:
        """Trains from the saved state, or from the start, to the end of the plan.

        Raises:
            Interrupted: SIGINT or SIGTERM arrived; the state was saved.
            TrainingError: The loss stopped being finite; the last good state is on disk.
            ArtifactError: The folder holds another run.
        """
        config = self.plan.config
        parameters = list(self.attachment.parameters())
        optimizer = torch.optim.Adam(parameters, lr=config.lr, fused=self.device.type == "cuda")
        state = self._start(optimizer, progress)
        begin, first = time.perf_counter(), state.iteration
        earlier_s, watching_s = state.elapsed_s, 0.0
        pending: list[Tensor | float] = list(state.pending_losses)
        with catch_stop() as stop, progress.task("train", config.iterations, unit="it") as task:
            task.advance(state.iteration)
            set_differentiable(self.backbone, True)
            while state.iteration < config.iterations:
                elapsed_s = earlier_s + time.perf_counter() - begin
                done = state.iteration / config.iterations
                if config.minutes is not None:
                    done = max(done, elapsed_s / (60 * config.minutes))
                lr = learning_rate(config.lr, config.schedule, done)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                pending.append(self._step(optimizer, self.batches.sample(state.iteration)))
                state = state.model_copy(update={"iteration": state.iteration + 1, "elapsed_s": elapsed_s})
                task.advance()

                out_of_time = config.minutes is not None and elapsed_s >= 60 * config.minutes
                last = state.iteration == config.iterations or out_of_time
                log_now = last or state.iteration % LOG_FREQ == 0
                validate_now = last or state.iteration % config.val_freq == 0
                save_now = last or state.iteration % config.save_freq == 0 or stop.name is not None
                if log_now or validate_now or save_now:
                    # Only here, since reading a loss makes the host wait for the device.
                    pending = self._require_finite(pending, state.iteration)
                if log_now:
                    self._log_loss(pending, state.iteration, lr, task)
                    pending = []
                if validate_now:
                    started = time.perf_counter()
                    state = self._validate(state, task)
                    watching_s += time.perf_counter() - started
                if save_now:
                    state = state.model_copy(update={"pending_losses": tuple(map(float, pending))})
                    save_state(self.folder.state, state, self.attachment, optimizer)
                if stop.name is not None and not last:
                    raise Interrupted(
                        f"stopped by {stop.name} at iteration {state.iteration} of {config.iterations}; saved",
                        "the same command goes on from here",
                    )
                if out_of_time:
                    progress.note(f"{config.minutes:g} minutes are over at iteration {state.iteration}")
                    break
        set_differentiable(self.backbone, False)
        steps = state.iteration - first
        spent_s = time.perf_counter() - begin - watching_s
        return Outcome(state, spent_s / steps if steps else None)

    def _start(self, optimizer: torch.optim.Adam, progress: Progress) -> LoopState:
        """The saved state, put back; or a new one with the backbone's own score (R25)."""
        if self.folder.state.exists():
            require_same_run(self.folder.state, self.plan)
            state, tensors = read_state(self.folder.state)
            restore(tensors, self.attachment, optimizer, self.folder.state)
            cut_log(self.folder.log, state.iteration)
            if state.iteration == 0:  # killed between saving the first state and keeping the first adapter
                self.keep_best(self.attachment, state)
            if state.iteration < self.plan.config.iterations:
                progress.note(
                    f"resuming at iteration {state.iteration} after {format_seconds(state.elapsed_s)} of training"
                )
            return state
        self.folder.root.mkdir(parents=True, exist_ok=True)
        self.folder.log.unlink(missing_ok=True)
        score, sample = self.validator.score(self._upscale())
        self._keep_sample(sample, 0)
        append_row(self.folder.log, LogRow(iteration=0, val_psnr_y_db=score))
        state = LoopState(
            plan=self.plan,
            iteration=0,
            elapsed_s=0.0,
            backbone_psnr_y_db=score,
            best_psnr_y_db=score,
            best_iteration=0,
            pending_losses=(),
        )
        save_state(self.folder.state, state, self.attachment, optimizer)
        self.keep_best(self.attachment, state)
        progress.note(
            f"backbone before training: {score:.2f} dB PSNR-Y on {plural(len(self.validator), 'held-out image')}"
        )
        return state

    def _step(self, optimizer: torch.optim.Adam, batch: Batch) -> Tensor:
        """One optimiser step; returns the detached loss without waiting for the device."""
        lr = batch.lr.to(self.device, non_blocking=True)
        hr = batch.hr.to(self.device, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        # Cached: a weight that is read twice in one forward pass is computed once.
        with parametrize.cached(), autocast(self.device, self.plan.config.precision):
            loss = fidelity_loss(super_resolve(self.backbone, lr), hr)
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()

    def _require_finite(self, pending: Sequence[Tensor | float], iteration: int) -> list[Tensor | float]:
        """The losses as numbers; a loss that is not finite ends the run before anything of it is saved."""
        losses = [float(value) for value in pending]
        if not all(math.isfinite(loss) for loss in losses):
            kept = f"the last good state is kept in {self.folder.state}" if self.folder.state.exists() else ""
            raise TrainingError(
                f"the loss stopped being finite before iteration {iteration}",
                f"try a smaller --lr or --precision fp32; {kept}".rstrip("; "),
            )
        return list(losses)

    def _log_loss(self, losses: Sequence[Tensor | float], iteration: int, lr: float, task: Task) -> None:
        loss = float(np.mean([float(value) for value in losses]))
        append_row(self.folder.log, LogRow(iteration=iteration, loss=loss, lr=lr))
        task.show(loss=f"{loss:.4f}", lr=f"{lr:.1e}")

    def _validate(self, state: LoopState, task: Task) -> LoopState:
        """Scores the network as it stands and keeps it if it is the best so far."""
        set_differentiable(self.backbone, False)
        score, sample = self.validator.score(self._upscale())
        set_differentiable(self.backbone, True)
        self._keep_sample(sample, state.iteration)
        append_row(self.folder.log, LogRow(iteration=state.iteration, val_psnr_y_db=score))
        task.show(val=f"{score:.2f} dB ({score - state.backbone_psnr_y_db:+.2f})")
        if score > state.best_psnr_y_db:
            state = state.model_copy(update={"best_psnr_y_db": score, "best_iteration": state.iteration})
            self.keep_best(self.attachment, state)
        return state

    def _upscale(self) -> Callable[[np.ndarray], np.ndarray]:
        upscaler = Upscaler(self.backbone, device=self.device, precision="fp32", tile_px=0)

        def upscale(lr: np.ndarray) -> np.ndarray:
            sr: np.ndarray = np.rint(upscaler.run(lr) * 255).astype(np.uint8)
            return sr

        return upscale

    def _keep_sample(self, sample: np.ndarray, iteration: int) -> None:
        write_rgb(self.folder.samples / f"{iteration:06d}.png", sample)
