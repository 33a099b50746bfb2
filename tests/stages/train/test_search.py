"""The search for method and learning rate, through the command line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command, write_pairs
from networks import save_tiny
from stages.small_runs import write_camera
from training.test_loop import CONFIG

from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.artifacts.search import SearchRecord
from adaptsr_cli.artifacts.train_state import LoopState, RunFingerprint
from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.progress import Silent, SilentTask
from adaptsr_cli.ranking.importance import measure_movement
from adaptsr_cli.stages.common.adapter_file import read_adapter
from adaptsr_cli.stages.train import build_adapters, fit_memory, rate_bound, search
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.stage import run_train
from adaptsr_cli.training import halving
from adaptsr_cli.training.log import append_row
from adaptsr_cli.training.presets import TRAIN_PRESETS
from adaptsr_cli.training.state import read_state

WORDS = ("--iterations", 60, "--batch", 1, "--patch", 32, "--model", "m.safetensors", "--val-freq", 30)


@pytest.fixture
def camera(tmp_path: Path, adaptsr: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pairs, a tiny network, a run that is scored and allocated, and a search that is content with few steps."""
    monkeypatch.setattr(halving, "_STEPS_A_TRIAL", 4)
    pairs = write_camera(tmp_path / "pairs")
    assert adaptsr("score", "--data", pairs, "--model", "m.safetensors", "--batches", 1, "--patch", 32).code == 0
    assert adaptsr("allocate", "--budget", "3k").code == 0
    return pairs


def copy_plan(name: str) -> Path:
    copy = Path(name)
    copy.mkdir()
    for file in ("run.json", "saliency.json", "saliency.safetensors", "rank_map.json"):
        shutil.copy(Path("adaptsr-run") / file, copy)
    return copy


@pytest.mark.usefixtures("rendered_pages")
def test_the_training_that_follows_is_that_of_the_rate_found(adaptsr: Command, camera: Path) -> None:
    """Bit for bit, and the second, longer training does not search again."""
    run = Path("adaptsr-run")
    done = adaptsr("train", "--data", camera, *WORDS)
    assert done.code == 0, done.err
    record = read_document(run / "training" / "search.json", SearchRecord)
    winner = record.winner
    assert winner is not None
    assert [len(trial.scores) for trial in record.trials].count(2) == 2
    assert {trial.method for trial in record.trials} == {"lora", "full"}
    # Four and eight steps, of which the log has no row yet.
    assert {len(score.losses) for trial in record.trials for score in trial.scores} == {1}
    assert record.lost_iterations <= 0.3 * 60
    assert "searching for the learning rate: 4 trials of 4 steps, the best 2 of them to 8" in done.err
    assert "goes on" in done.out
    assert (run / "training" / "search.png").stat().st_size > 5_000
    assert not (run / "training" / "trials").exists()
    given = copy_plan("given")
    words = ("--lr", winner.learning_rate, "--method", winner.method, "--run", given)
    assert adaptsr("train", "--data", camera, *WORDS, *words).code == 0
    for name in ("adapter.safetensors", "training/log.jsonl"):
        assert (given / name).read_bytes() == (run / name).read_bytes()
    facts = json.loads(adaptsr("info", run / "training" / "search.json", "--json").out)
    assert winner.method in json.dumps(facts)
    longer = adaptsr("train", "--data", camera, *WORDS, "--iterations", 70)
    assert longer.code == 0, longer.err
    assert "searching" not in longer.err
    assert "now up to iteration 70" in longer.err


@pytest.mark.parametrize("at", ["in a trial", "in the take-over"])
def test_a_killed_search_goes_on(at: str, adaptsr: Command, camera: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = copy_plan("straight")
    with monkeypatch.context() as patch:
        patch.setenv("ADAPTSR_CACHE", "another-cache")  # which keeps the search for nobody
        assert adaptsr("train", "--data", camera, *WORDS, "--run", straight).code == 0
    calls = []

    def break_off(kept: object) -> object:
        def broken(*args: object, **keywords: object) -> object:
            calls.append(args)
            if len(calls) == (4 if at == "in a trial" else 1):
                raise OSError("the power went")
            return kept(*args, **keywords)  # type: ignore[operator]

        return broken

    with monkeypatch.context() as patch:
        name = "read_log" if at == "in a trial" else "write_state"
        patch.setattr(search, name, break_off(getattr(search, name)))
        assert adaptsr("train", "--data", camera, *WORDS).code != 0
    run = Path("adaptsr-run")
    before = read_document(run / "training" / "search.json", SearchRecord)
    assert sum(len(trial.scores) for trial in before.trials) == (3 if at == "in a trial" else 6)
    done = adaptsr("train", "--data", camera, *WORDS)
    assert done.code == 0, done.err
    assert (run / "adapter.safetensors").read_bytes() == (straight / "adapter.safetensors").read_bytes()
    tables = [read_document(folder / "training" / "search.json", SearchRecord).table() for folder in (run, straight)]
    assert tables[0] == tables[1]


class Counting(Silent):
    """A progress that keeps the steps of the search: those done now, those that were there, and rates before it.

    Args:
        most: Steps after which the power goes.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.now: list[int] = []
        self.before = 0
        self.rates = 0
        self._most = most

    def task(self, description: str, total: int | None, *, unit: str = "it") -> SilentTask:
        task = SilentTask()
        if description == "search":
            self.total = total
            task.advance = self._advance  # type: ignore[method-assign]
            task.skip = self._skip  # type: ignore[method-assign]
        elif description == "first step":
            task.advance = self._advance_rates  # type: ignore[method-assign]
        return task

    def _advance_rates(self, steps: int = 1) -> None:
        self.rates += steps

    def _advance(self, steps: int = 1) -> None:
        self.now.append(steps)
        if len(self.now) == self._most:
            raise OSError("the power went")

    def _skip(self, steps: int) -> None:
        self.before += steps


def test_the_bar_of_the_search_moves_with_each_step(camera: Path) -> None:
    """A trial of a large network takes long, and a bar that stands looks as if nothing were done."""
    options = TrainOptions(data=str(camera), iterations=60, batch=1, patch=32, val_freq=30)
    begun, rest = Counting(most=6), Counting(most=100)
    with pytest.raises(OSError, match="the power went"):  # two steps into the second trial of four
        run_train(options, progress=begun)
    assert (begun.total, begun.now, begun.before) == (24, [1] * 6, 0)
    assert begun.rates >= 4  # a reference and one more, of two methods
    run_train(options, progress=rest)
    assert (rest.total, rest.now, rest.before) == (24, [1] * 20, 4)


def test_a_long_training_is_told_before_it_begins(camera: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar of the search says nothing of the training after it."""
    told = []
    for longest_s, minutes in ((search.LONG_S, None), (0.0, None), (0.0, 5.0)):
        monkeypatch.setattr(search, "LONG_S", longest_s)
        progress = Counting(most=1)
        options = {"run": Path(f"{longest_s}-{minutes}"), "data": str(camera), "iterations": 60, "minutes": minutes}
        with pytest.raises(OSError, match="the power went"):  # after a step of the search
            run_train(TrainOptions.of({**options, "batch": 1, "patch": 32}), progress=progress)
        told.append([note for note in progress.notes if "`minutes` 30 plans both" in note])
    assert [len(notes) for notes in told] == [0, 1, 0]
    assert told[1][0].startswith("a step takes about ")


def test_the_memory_of_a_step_is_found_once_for_all_trials(camera: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a transformer it takes longer than several steps."""
    found, find = [], fit_memory.step_memory_bytes
    monkeypatch.setattr(fit_memory, "is_worth_finding", lambda *_: True)
    monkeypatch.setattr(fit_memory, "step_memory_bytes", lambda *args: found.append(find(*args)) or found[-1])
    for method in ("lora", "bitfit"):
        run_train(TrainOptions(run=Path(method), data=str(camera), iterations=60, batch=1, patch=32, method=method))
    assert len(found) == 2
    assert 0 < found[1] < found[0]


@pytest.fixture
def too_high(monkeypatch: pytest.MonkeyPatch) -> float:
    """The preset's rate, which is far too high for the tiny network whose activations lie in [0, 255]."""
    preset = TRAIN_PRESETS["fast"].model_copy(update={"learning_rate": 0.2})
    monkeypatch.setitem(TRAIN_PRESETS, "fast", preset)
    save_tiny("span", Path("m.safetensors"))
    return preset.learning_rate


def test_a_network_that_a_rate_throws_off_gets_lower_ones(
    adaptsr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, too_high: float
) -> None:
    monkeypatch.setattr(halving, "_STEPS_A_TRIAL", 4)
    pairs = write_pairs(tmp_path / "pairs", count=5, side_px=64)
    done = adaptsr("train", "--data", pairs, *WORDS, "--method", "lora")
    assert done.code == 0, done.err
    assert "learning rate of 0.2 with --method lora is too high for this network" in done.err
    record = read_document(Path("adaptsr-run") / "training" / "search.json", SearchRecord)
    (bound,) = record.bounds
    assert bound.usual == too_high
    assert bound.highest in [too_high / 2**times for times in (2, 3, 4, 5)]
    assert max(trial.learning_rate for trial in record.trials) <= 2 * bound.highest
    winner = record.winner
    assert winner is not None
    assert winner.scores[-1].stable
    assert winner.scores[-1].learning_rate is None


def test_without_a_search_the_first_step_bounds_the_rate(adaptsr: Command, tmp_path: Path, too_high: float) -> None:
    pairs = write_pairs(tmp_path / "pairs", count=5, side_px=64)
    words = ("--data", pairs, *WORDS, "--iterations", 4, "--method", "lora")
    done = adaptsr("train", *words)
    assert done.code == 0, done.err
    assert "no search for the learning rate" in done.err
    assert f"learning rate of {too_high:g} with --method lora is too high for this network" in done.err
    rate = read_state(Path("adaptsr-run") / "training" / "state.safetensors")[0].plan.config.learning_rate
    assert rate in [too_high / 2**times for times in (2, 3, 4, 5)]
    longer = adaptsr("train", *words, "--iterations", 6)
    assert longer.code == 0, longer.err
    assert "now up to iteration 6" in longer.err


def test_a_trial_counts_for_the_rate_that_it_ended_with(
    adaptsr: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, too_high: float
) -> None:
    """Without the bound all rates are too high: the search goes on with one that was lowered, and says which."""
    monkeypatch.setattr(rate_bound, "bound_rate", lambda step, usual: 2 * usual)
    pairs = write_pairs(tmp_path / "pairs", count=20, side_px=64)  # of few held-out images a fall is borne
    # By L1 alone: the loss against a grid steadies the first steps of the lowest of these rates.
    words = ("--method", "lora", "--val-freq", 5, "--objective", "l1", "--optimizer", "adam")
    done = adaptsr("train", "--data", pairs, *WORDS, *words)
    assert done.code == 0, done.err
    run = Path("adaptsr-run")
    winner = read_document(run / "training" / "search.json", SearchRecord).winner
    assert winner is not None
    assert winner.last_rate < winner.learning_rate
    assert f"the learning rate is {winner.last_rate:.2g} with --method lora" in done.err
    assert f" at {winner.last_rate:.2g}" in done.out
    given = copy_plan("given")
    assert adaptsr("train", "--data", pairs, *WORDS, *words, "--lr", winner.learning_rate, "--run", given).code == 0
    assert (given / "adapter.safetensors").read_bytes() == (run / "adapter.safetensors").read_bytes()
    again = adaptsr("train", "--data", pairs, *WORDS, *words, "--run", copy_plan("again"))
    assert f"the learning rate is {winner.last_rate:.2g}" in again.err
    assert f"{winner.last_rate:.2g} at its peak" not in again.err


@pytest.mark.parametrize(
    ("scores", "gain_db", "stable"),
    [((29.7,), 0.2, True), ((29.5,), 0.2, False), ((30.1,), -0.36, False), ((30.1,), -0.3, True), ((), 0.2, True)],
)
def test_a_trial_is_unstable_whose_held_out_score_fell(
    scores: tuple[float, ...], gain_db: float, stable: bool, tmp_path: Path
) -> None:
    """By more than half a dB at first; after a sixth and a third of the training by more than 0.42 and 0.33 dB."""
    config = CONFIG.model_copy(update={"iterations": 90})  # by the clock there may be more than are planned
    plan = RunFingerprint(config=config, backbone_sha256="", data_fingerprint="", ranks={})
    state = LoopState(plan=plan, iteration=20, backbone_psnr_y_db=30.0, best_psnr_y_db=30.0, best_iteration=0)
    for score_db in scores:
        append_row(tmp_path / "log.jsonl", LogRow(iteration=10, val_psnr_y_db=score_db))
    assert search._to_score(state, gain_db, tmp_path / "log.jsonl", 60, 1.0).stable is stable


def test_a_rate_or_too_few_iterations_need_no_search(adaptsr: Command, camera: Path) -> None:
    few = adaptsr("train", "--data", camera, *WORDS, "--iterations", 4)
    assert few.code == 0, few.err
    assert "no search for the learning rate, since it needs --iterations 60 or more: it is the preset's" in few.err
    auto = adaptsr("train", "--data", camera, *WORDS, "--iterations", 4, "--lr", "auto", "--run", copy_plan("auto"))
    assert auto.code == 0, auto.err
    wrong = adaptsr("train", "--data", camera, *WORDS, "--lr", "fast")
    assert wrong.code == 2
    assert "--lr" in wrong.err
    assert not (Path("adaptsr-run") / "training" / "search.json").exists()


def test_another_run_reuses_what_a_search_has_found(
    adaptsr: Command, camera: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, fourth = Path("adaptsr-run"), *(copy_plan(name) for name in ("second", "third", "fourth"))
    searched = adaptsr("train", "--data", camera, *WORDS)
    assert searched.code == 0, searched.err
    found = read_document(first / "training" / "search.json", SearchRecord)
    assert not found.is_reused
    winner = found.winner
    assert winner is not None
    (kept,) = Path(os.environ["ADAPTSR_CACHE"]).glob("searches/*.json")

    reused = adaptsr("train", "--data", camera, *WORDS, "--run", second)
    assert reused.code == 0, reused.err
    assert "as an earlier search on this network and these images found" in reused.err
    assert "searching" not in reused.err
    assert "reused" in reused.out
    assert read_document(second / "training" / "search.json", SearchRecord).is_reused
    words = ("--lr", winner.learning_rate, "--method", winner.method, "--run", third)
    assert adaptsr("train", "--data", camera, *WORDS, *words).code == 0
    assert (second / "adapter.safetensors").read_bytes() == (third / "adapter.safetensors").read_bytes()

    def search_again(self: object) -> None:
        raise AdaptsrError("searched again")

    monkeypatch.setattr(search._Search, "run", search_again)
    for more in (("--run", second, "--force"), ("--run", fourth, "--batch", 2), ("--run", fourth, "--iterations", 121)):
        assert "searched again" in adaptsr("train", "--data", camera, *WORDS, *more).err
    for iterations in (10, 120):
        words = ("--iterations", iterations, "--run", copy_plan(f"of {iterations}"))
        assert "as an earlier search" in adaptsr("train", "--data", camera, *WORDS, *words).err
    kept.write_text("{", encoding="utf-8")
    damaged = adaptsr("train", "--data", camera, *WORDS, "--run", fourth)
    assert "what an earlier search has found is ignored" in damaged.err
    assert str(kept) in damaged.err
    assert "searched again" in damaged.err


def test_a_short_search_tries_the_method_that_suits_the_network(
    adaptsr: Command, camera: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time for two trials, of full updates on a small network and of low-rank ones on a larger one."""
    monkeypatch.setattr(halving, "_STEPS_A_TRIAL", 9)
    tried = {}
    for name, limit in (("small", search.SMALL_PARAMS), ("larger", 100)):
        monkeypatch.setattr(search, "SMALL_PARAMS", limit)
        run = copy_plan(name)
        done = adaptsr("train", "--data", camera, *WORDS, "--run", run)
        assert done.code == 0, done.err
        record = read_document(run / "training" / "search.json", SearchRecord)
        tried[name] = [trial.method for trial in record.trials]
    assert tried == {"small": ["full", "full"], "larger": ["lora", "lora"]}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every measurement of how far full fine-tuning moves the weights."""
    found = []

    def measure(*args: Any, **options: Any) -> Any:
        found.append(measure_movement(*args, **options))
        return found[-1]

    monkeypatch.setattr(build_adapters, "measure_movement", measure)
    return found


def test_what_a_mask_takes_counts_among_the_minutes(adaptsr: Command, camera: Path, measured: list[Any]) -> None:
    """Planning measures it, and the training takes over what planning has measured."""
    done = adaptsr("train", "--data", camera, *WORDS, "--method", "shira", "--lr", 1e-3, "--minutes", 0.05)
    assert done.code == 0, done.err
    assert "0.05 minutes: " in done.err
    assert len(measured) == 1


def test_the_trials_of_sparse_updates_share_one_mask(adaptsr: Command, camera: Path, measured: list[Any]) -> None:
    """It is measured once, and is the one that the winner's rate gives by itself."""
    done = adaptsr("train", "--data", camera, *WORDS, "--method", "shira")
    assert done.code == 0, done.err
    assert len(measured) == 1
    record = read_document(Path("adaptsr-run") / "training" / "search.json", SearchRecord)
    assert record.winner is not None
    assert len(record.trials) > 1
    words = ("--method", "shira", "--lr", record.winner.learning_rate, "--run", copy_plan("given"))
    assert adaptsr("train", "--data", camera, *WORDS, *words).code == 0
    first, second = (read_adapter(Path(run) / "adapter.safetensors")[1] for run in ("adaptsr-run", "given"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
