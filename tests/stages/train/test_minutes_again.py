"""A training that has a time to keep, given again: after a kill, after its end, and after its search was stopped."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from stages.small_runs import write_camera

from adaptsr_cli.artifacts.search import SearchRecord
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.progress import Progress
from adaptsr_cli.training.loop import Trainer, TrainingOutcome
from adaptsr_cli.training.state import read_state, write_state
from adaptsr_cli.training.step import GradientStep

WORDS = ("--model", "m.safetensors", "--patch", 32, "--method", "lora")
TIMED = (*WORDS, "--batch", 1, "--minutes", 0.02, "--lr", 1e-3)


@pytest.mark.parametrize("batch", [1, 2])
def test_a_measurement_that_was_killed_is_made_again(adaptsr: Command, tmp_path: Path, batch: int) -> None:
    pairs = write_camera(tmp_path / "pairs")
    left = adaptsr("train", "--data", pairs, *WORDS, "--batch", batch, "--iterations", 3, "--lr", 1e-3, "--run", "left")
    assert left.code == 0, left.err
    shutil.copytree("left/training", "adaptsr-run/training/pace/training")
    done = adaptsr("train", "--data", pairs, *TIMED)
    assert done.code == 0, done.err
    assert not Path("adaptsr-run/training/pace").exists()


def test_the_same_time_and_iterations_again_do_nothing(adaptsr: Command, tmp_path: Path) -> None:
    words = ("train", "--data", write_camera(tmp_path / "pairs"), *TIMED, "--iterations", 100_000)
    assert adaptsr(*words).code == 0
    before = Path("adaptsr-run/training/state.safetensors").read_bytes()
    again = adaptsr(*words)
    assert "this run is finished already" in again.err
    assert Path("adaptsr-run/training/state.safetensors").read_bytes() == before


def test_a_batch_in_parts_for_the_memory_stays_so(
    adaptsr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, real, faults = write_camera(tmp_path / "pairs"), GradientStep.run, [torch.OutOfMemoryError("too large")]

    def run(step: GradientStep, *args: Any) -> Any:
        if faults:
            raise faults.pop()
        return real(step, *args)

    monkeypatch.setattr(GradientStep, "run", run)
    words = ("train", "--data", pairs, *WORDS, "--batch", 2, "--lr", 1e-3)
    assert "does not fit into the memory: --accumulate 2" in adaptsr(*words, "--minutes", 0.02).err
    again = adaptsr(*words, "--minutes", 0.02)
    assert "this run is finished already" in again.err
    longer = adaptsr(*words, "--minutes", 0.04)
    assert longer.code == 0, longer.err


def test_a_search_that_was_stopped_keeps_its_length(
    adaptsr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 90 iterations, as many as were asked for and fewer than the time allows."""
    words = (
        "train",
        "--data",
        write_camera(tmp_path / "pairs"),
        *WORDS,
        "--batch",
        1,
        "--minutes",
        1,
        "--iterations",
        90,
    )
    search, real, steps = Path("adaptsr-run/training/search.json"), Trainer._step, []

    def step(trainer: Trainer, *args: Any) -> Any:
        if trainer.folder.root.parent.parent.name == "trials":
            steps.append(1)
            if len(steps) == 30:  # of 27 a trial
                os.kill(os.getpid(), signal.SIGINT)
        return real(trainer, *args)

    monkeypatch.setattr(Trainer, "_step", step)
    assert adaptsr(*words).code == 130
    first = read_document(search, SearchRecord)
    assert [len(trial.scores) for trial in first.trials] == [1, 0]
    done = adaptsr(*words)
    assert done.code == 0, done.err
    found = read_document(search, SearchRecord)
    assert (found.planned_iterations, first.planned_iterations) == (90, 90)
    assert found.trials[0].scores[0].seconds == first.trials[0].scores[0].seconds  # it was not made again


def test_a_training_that_goes_on_keeps_time_for_its_last_validation(
    adaptsr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its bar counts to what is expected, not to all that the time would allow a faster machine."""
    words = ("train", "--data", write_camera(tmp_path / "pairs"), *TIMED)
    real, found = Trainer.run, []

    def run(trainer: Trainer, progress: Progress) -> TrainingOutcome:
        if trainer.folder.root.name == "training" and trainer.plan.config.minutes is not None:
            found.append((trainer.reserve_s, trainer.expected_iterations, trainer.plan.config.iterations))
        return real(trainer, progress)

    monkeypatch.setattr(Trainer, "run", run)
    assert adaptsr(*words).code == 0
    state, tensors = read_state(Path("adaptsr-run/training/state.safetensors"))
    assert state.validation_s > 0
    write_state(Path("adaptsr-run/training/state.safetensors"), state.model_copy(update={"finished": False}), tensors)
    assert adaptsr(*words).code == 0
    assert found[1][0] == state.validation_s
    for _, expected, most in found:
        assert expected is not None
        assert 1 <= expected < most
    more = adaptsr(*words[:-4], "--minutes", 0.04, "--lr", 1e-3)
    assert more.code == 0, more.err
    assert found[2][0] > 0
