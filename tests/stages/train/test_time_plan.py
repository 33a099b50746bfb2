"""The plan of a training that has a time to keep."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command
from stages.small_runs import write_camera

from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.stages.train import time_plan
from adaptsr_cli.stages.train.time_plan import Pace, plan_time
from adaptsr_cli.training.halving import plan_halving
from adaptsr_cli.training.loop import Trainer
from adaptsr_cli.training.step import GradientStep
from adaptsr_cli.training.validation import Validator


@pytest.mark.parametrize("minutes", [1, 10, 100, 600])
@pytest.mark.parametrize("pace", [Pace(0.005, 0.05), Pace(0.3, 2.0, 3.0), Pace(2.0, 20.0)])
@pytest.mark.parametrize("seeks_rate", [True, False])
def test_search_steps_and_validations_fill_the_time(minutes: int, pace: Pace, seeks_rate: bool) -> None:
    plan = plan_time(minutes, pace, ("lora", "full") if seeks_rate else ())
    steps = plan.iterations * (1.3 if plan.is_searching else 1)
    scored = plan_halving(("lora", "full"), plan.iterations).validations if plan.is_searching else 0
    seconds = pace.spent_s + steps * pace.step_s + (plan.validations + scored) * pace.validation_s
    if plan.iterations > 1:
        assert 0.9 * 60 * minutes <= seconds <= 60 * minutes
    assert 3 <= plan.validations <= 20
    assert plan.is_searching == (seeks_rate and plan.iterations >= 60)


def test_a_plan_is_told() -> None:
    pace = Pace(0.25, 2.0)
    said = plan_time(10, pace, ("lora", "full")).describe(10, pace)
    assert said.startswith("10 minutes: a search for the learning rate and about 1,6")
    assert said.endswith("iterations of 0.25 s, with 20 validations of 2 s")


@pytest.mark.parametrize(("minutes", "slower"), [(1, 1.0), (60, 1.3), (600, 0.8)])
def test_search_training_and_validations_take_the_minutes(
    minutes: int, slower: float, adaptsr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that only steps and validations move; after its first quarter the machine is slower or faster."""
    pairs = write_camera(tmp_path / "pairs")
    words = ("--data", pairs, "--model", "m.safetensors", "--batches", 1, "--patch", 32)
    assert adaptsr("score", *words).code == 0
    assert adaptsr("allocate", "--budget", "3k").code == 0
    seconds, step_s = 0.0, 60 * minutes / 200

    def spend(kept: Callable[..., object], cost_s: float) -> Callable[..., object]:
        def spending(*args: object, **keywords: object) -> object:
            nonlocal seconds
            seconds += cost_s * (slower if seconds > 15 * minutes else 1.0)
            return kept(*args, **keywords)

        return spending

    monkeypatch.setattr(time, "perf_counter", lambda: seconds)
    monkeypatch.setattr(GradientStep, "run", spend(GradientStep.run, step_s))
    monkeypatch.setattr(Validator, "score", spend(Validator.score, 2 * step_s))
    done = adaptsr("train", *words[:4], *words[6:], "--batch", 1, "--minutes", minutes)
    assert done.code == 0, done.err
    assert "searching for the learning rate" in done.err
    assert 0.9 * 60 * minutes <= seconds <= 1.1 * 60 * minutes


@pytest.mark.parametrize(("words", "method"), [((), "full"), (("--lr", 1e-3), "full"), (("--method", "lora"), "lora")])
def test_the_pace_is_that_of_the_method_that_is_trained_first(
    words: tuple[str | float, ...], method: str, adaptsr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = write_camera(tmp_path / "pairs")
    settings = ("--data", pairs, "--model", "m.safetensors", "--patch", 32)
    assert adaptsr("score", *settings, "--batches", 1).code == 0
    assert adaptsr("allocate", "--budget", "3k").code == 0
    timed = []

    def note(trainer: Trainer, timed_s: float) -> Pace:
        timed.append(trainer.plan.config.method)
        raise AdaptsrError("timed")

    monkeypatch.setattr(time_plan, "_time", note)
    assert "timed" in adaptsr("train", *settings, "--batch", 1, "--minutes", 1, *words).err
    assert timed == [method]


def test_a_training_keeps_to_its_minutes_and_goes_on_with_more(adaptsr: Command, tmp_path: Path) -> None:
    pairs = write_camera(tmp_path / "pairs")
    words = ("train", "--data", pairs, "--model", "m.safetensors", "--batch", 1, "--patch", 32)
    assert adaptsr("score", *words[1:5], "--batches", 1, "--patch", 32).code == 0
    assert adaptsr("allocate", "--budget", "3k").code == 0
    first = adaptsr(*words, "--minutes", 0.08)
    assert first.code == 0, first.err
    assert "0.08 minutes: " in first.err
    run = Path("adaptsr-run") / "training"
    card = read_document(run / "card.json", RunCard)
    assert card.wall_s < 1.3 * 4.8  # with room for a busy machine, which counts for more in a time so short
    assert not (run / "pace").exists()
    again = adaptsr(*words, "--minutes", 0.08)
    assert again.code == 0, again.err
    assert "finished already" in again.err
    more = adaptsr(*words, "--minutes", 0.12)
    assert more.code == 0, more.err
    assert "now up to 0.12 minutes" in more.err
    longer = read_document(run / "card.json", RunCard)
    assert longer.iterations > card.iterations
    assert longer.wall_s > card.wall_s
