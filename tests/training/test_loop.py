"""The training loop: resume, interruption, best-keeping, faults."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from networks import save_tiny

from adaptsr_cli.adapters.attach import Attachment, attach
from adaptsr_cli.adapters.shira import choose_by_site, draw_importance
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.artifacts.base import Method
from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.artifacts.train_state import LoopState, RunFingerprint
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.data.sampler import Batch
from adaptsr_cli.errors import ArtifactError, Interrupted
from adaptsr_cli.progress import Progress, Silent
from adaptsr_cli.training.folder import TrainingFolder
from adaptsr_cli.training.log import append_row, read_log
from adaptsr_cli.training.loop import Trainer, TrainingOutcome
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.validation import Validator

CONFIG = TrainConfig(
    preset="fast",
    iterations=24,
    batch=2,
    patch_px=64,
    learning_rate=5e-3,
    schedule="cosine",
    alpha=4.0,
    val_freq=8,
    save_freq=5,
    precision="fp32",
    seed=3,
)


STEADY = CONFIG.model_copy(update={"schedule": "constant"})


class Held:
    """Two held-out pairs: the HR side is a brighter, larger LR side."""

    def __len__(self) -> int:
        return 2

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        lr = np.random.default_rng(index).integers(0, 200, (16, 16, 3), dtype=np.uint8)
        return lr, lr.repeat(4, axis=0).repeat(4, axis=1) + np.uint8(20)


@dataclass
class Batches:
    """Batches of the same kind; at one iteration something may happen."""

    at: int = -1
    action: str = ""
    crash_at: int = -1
    asked: list[int] = field(default_factory=list)

    def sample(self, iteration: int) -> Batch:
        self.asked.append(iteration)
        lr = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(iteration)) * 0.75
        if iteration == self.at and self.action == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        if (iteration == self.at and self.action == "nan") or self.action == "always nan":
            lr = lr * torch.nan
        shift = -0.5 if iteration >= self.at and self.action == "misleading" else 20 / 255
        if iteration == self.crash_at or (iteration == self.at and self.action == "crash"):
            raise OSError("the power went")
        return Batch(lr, torch.nn.functional.interpolate(lr, scale_factor=4) + shift)


def run(
    folder: Path, batches: Batches | None = None, config: TrainConfig = CONFIG, progress: Progress | None = None
) -> tuple[TrainingOutcome, dict[int, dict[str, torch.Tensor]], Attachment]:
    """Trains a tiny network in `folder`; returns what was kept as best, by iteration."""
    trainer, kept = make_trainer(folder, batches or Batches(), config)
    return trainer.run(progress or Silent()), kept, trainer.attachment


def make_trainer(
    folder: Path, batches: Batches, config: TrainConfig = CONFIG, network: str = "safmn"
) -> tuple[Trainer, dict[int, dict[str, torch.Tensor]]]:
    """The training of a tiny network, and where it puts what is best, by iteration."""
    backbone = load_backbone(save_tiny(network, folder / "net.safetensors"))
    plan = [(site, 2) for site in find_sites(backbone.model, backbone.traits).sites if site.max_rank >= 2]
    attachment = attach(
        backbone.model,
        plan,
        alpha=config.alpha,
        seed=config.seed,
        method=config.method,
        lora_scaling=config.lora_scaling,
        factorization=config.conv_factorization,
        principal=config.init == "pissa",
        entries=choose_by_site(draw_importance(plan, config.seed), plan) if config.shira_mask == "random" else None,
    )
    kept: dict[int, dict[str, torch.Tensor]] = {}

    def keep_best(best: Attachment, state: LoopState) -> None:
        kept[state.iteration] = best.state()

    trainer = Trainer(
        backbone=backbone,
        attachment=attachment,
        batches=batches,
        validator=Validator(Held(), backbone.scale),
        plan=RunFingerprint(
            config=config,
            backbone_sha256=backbone.identity.sha256,
            data_fingerprint="x",
            ranks={site.name: rank for site, rank in plan},
        ),
        folder=TrainingFolder(folder / "training"),
        device=torch.device("cpu"),
        keep_best=keep_best,
        objective=make_objective(
            config.objective,
            weights_dir=folder,
            device=torch.device("cpu"),
            seed=0,
            iterations=config.iterations,
            scale=4,
        ),
    )
    return trainer, kept


def run_in(folder: Path, config: TrainConfig) -> LoopState:
    """Trains in a new folder; returns the last state."""
    folder.mkdir()
    return run(folder, config=config)[0].state


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_training_improves_and_keeps_the_best(tmp_path: Path) -> None:
    outcome, kept, _ = run(tmp_path)
    state = outcome.state
    assert state.iteration == 24
    assert state.best_psnr_y_db > state.backbone_psnr_y_db
    assert next(iter(kept)) == 0
    assert list(kept)[-1] == state.best_iteration
    rows = read_log(tmp_path / "training" / "log.jsonl")
    assert [row.iteration for row in rows if row.val_psnr_y_db is not None] == [0, 8, 16, 24]
    assert [row.iteration for row in rows if row.loss is not None] == [10, 20, 24]
    assert sorted(path.name for path in (tmp_path / "training" / "samples").iterdir()) == [
        f"{iteration:06d}.png" for iteration in (0, 8, 16, 24)
    ]


def test_same_command_gives_the_same_adapter(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = run(tmp_path / "a"), run(tmp_path / "b")
    assert same(first[2].state(), second[2].state())


@pytest.mark.parametrize("action", ["signal", "crash"])
@pytest.mark.parametrize("at", [3, 12, 19])
def test_interrupted_and_resumed_equals_straight(action: str, at: int, tmp_path: Path) -> None:
    """Adapter, best and log, bit for bit; a signal saves where it is, a crash falls back to the last save."""
    (tmp_path / "straight").mkdir()
    (tmp_path / "broken").mkdir()
    straight, kept, attachment = run(tmp_path / "straight")
    with pytest.raises(Interrupted if action == "signal" else OSError):
        run(tmp_path / "broken", Batches(at, action))
    batches = Batches()
    resumed, kept_later, resumed_attachment = run(tmp_path / "broken", batches)
    saved_at = batches.asked[0]
    if action == "signal":
        assert at - 2 <= saved_at <= at + 1  # batches are made up to two iterations ahead
    else:
        assert saved_at == at // 5 * 5
    assert same(resumed_attachment.state(), attachment.state())
    assert resumed.state.best_iteration == straight.state.best_iteration
    assert resumed.state.best_psnr_y_db == straight.state.best_psnr_y_db
    if straight.state.best_iteration > saved_at:
        assert same(kept_later[straight.state.best_iteration], kept[straight.state.best_iteration])
    logs = [(tmp_path / name / "training" / "log.jsonl").read_bytes() for name in ("straight", "broken")]
    assert logs[0] == logs[1]


@pytest.mark.parametrize(
    "options",
    [
        *({"method": method} for method in get_args(Method)),
        {"conv_factorization": "kxk-1x1"},
        {"conv_factorization": "single"},
        {"init": "pissa"},
        {"method": "shira", "shira_mask": "random"},
        {"schedule": "constant", "ema": None},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_every_method_resumes_bit_for_bit(options: dict[str, Any], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"iterations": 12, "ema": 0.9, **options})
    (tmp_path / "straight").mkdir()
    (tmp_path / "broken").mkdir()
    _, kept, attachment = run(tmp_path / "straight", config=config)
    with pytest.raises(OSError, match="the power went"):
        run(tmp_path / "broken", Batches(9, "crash"), config)
    _, kept_later, resumed = run(tmp_path / "broken", config=config)
    assert same(resumed.state(), attachment.state())
    assert any(not torch.equal(tensor, kept[0][name]) for name, tensor in resumed.state().items())
    assert all(same(kept_later[iteration], kept[iteration]) for iteration in kept_later)


def test_lora_plus_moves_b_faster_and_resumes(tmp_path: Path) -> None:
    """The first step of Adam is the learning rate itself, so B moves exactly the ratio further than A would."""
    config = CONFIG.model_copy(update={"lora_plus": 4.0, "iterations": 12})
    for name in ("plain", "straight", "broken"):
        (tmp_path / name).mkdir()
    one = config.model_copy(update={"iterations": 1, "val_freq": 1})
    plain = run(tmp_path / "plain", config=one.model_copy(update={"lora_plus": 1.0}))[2].state()
    faster = run(tmp_path / "broken", config=one)[2].state()
    moved = {
        name: (float(plain[name].abs().max()), float(faster[name].abs().max()))
        for name in plain
        if name.endswith("lora_B")
    }
    assert all(fast == pytest.approx(4 * slow, rel=1e-3) for slow, fast in moved.values())
    straight = run(tmp_path / "straight", config=config)[2]
    for file in (tmp_path / "broken" / "training").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(OSError, match="the power went"):
        run(tmp_path / "broken", Batches(9, "crash"), config)
    assert same(run(tmp_path / "broken", config=config)[2].state(), straight.state())


def test_interruption_exits_130(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match=r"stopped by SIGTERM at iteration [2-4] of 24") as caught:
        run(tmp_path, Batches(3, "signal"))
    assert caught.value.exit_code == 130


def test_finished_run_is_left_alone(tmp_path: Path) -> None:
    _, _, attachment = run(tmp_path)
    batches = Batches()
    outcome, kept, again = run(tmp_path, batches)
    assert outcome.seconds_per_iteration is None
    assert not batches.asked
    assert not kept
    assert same(again.state(), attachment.state())


def test_other_options_are_refused_and_named(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(ArtifactError, match=r"`learning_rate` was 0\.005, now 0\.001"):
        run(tmp_path, config=CONFIG.model_copy(update={"learning_rate": 1e-3}))
    run(tmp_path, config=CONFIG.model_copy(update={"save_freq": 7}))  # changes no result


LONGER = CONFIG.model_copy(update={"iterations": 48, "val_freq": 12})


def test_a_finished_training_goes_on_with_more_iterations(tmp_path: Path) -> None:
    """By a schedule that begins anew, from the very state that was saved; interrupted or not."""
    for name in ("straight", "broken"):
        (tmp_path / name).mkdir()
    run(tmp_path / "straight")
    progress, batches = Silent(), Batches()
    state = run(tmp_path / "straight", batches, LONGER, progress)[0].state
    assert batches.asked[0] == 24
    assert (state.iteration, state.finished) == (48, True)
    assert "at half of its peak (0.0025)" in progress.notes[0]
    rows = read_log(tmp_path / "straight" / "training" / "log.jsonl")
    rates = {row.iteration: row.learning_rate for row in rows if row.learning_rate is not None}
    assert rates[24] < 1e-3 < 2e-3 < rates[30] <= 2.5e-3
    run(tmp_path / "broken")
    with pytest.raises(Interrupted):
        run(tmp_path / "broken", Batches(33, "signal"), LONGER)
    run(tmp_path / "broken", config=LONGER)
    logs = [(tmp_path / name / "training" / "log.jsonl").read_bytes() for name in ("straight", "broken")]
    assert logs[0] == logs[1]


def test_an_unfinished_training_follows_the_longer_schedule(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path, Batches(12, "signal"))
    progress = Silent()
    state = run(tmp_path, config=LONGER, progress=progress)[0].state
    assert (state.iteration, state.schedule_start) == (48, None)
    assert "now up to iteration 48, by the schedule of that length" in progress.notes[0]


def test_fewer_iterations_are_refused_and_lose_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    state = tmp_path / "training" / "state.safetensors"
    before = state.read_bytes()
    with pytest.raises(ArtifactError, match=r"a training of 24 iterations .* is not more") as caught:
        run(tmp_path, config=CONFIG.model_copy(update={"iterations": 12}))
    assert "`iterations`" in caught.value.hint
    assert state.read_bytes() == before


def test_a_training_that_goes_on_does_not_fall_back_to_its_start(tmp_path: Path) -> None:
    run(tmp_path, config=STEADY)
    state = run(tmp_path, Batches(at=32, action="nan"), STEADY.model_copy(update={"iterations": 240}))[0].state
    assert [cut.back_to > 0 for cut in state.rate_cuts] == [True]


def test_weights_that_are_not_finite_lower_the_rate(tmp_path: Path) -> None:
    """By the last step before a validation, whose loss is of before it."""
    trainer, _ = make_trainer(tmp_path, Batches(), STEADY)
    steps = iter(range(100))

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.nan if next(steps) == 7 else gradient

    next(trainer.attachment.parameters()).register_hook(spoil)
    state = trainer.run(Silent()).state
    assert [(cut.iteration, cut.reason) for cut in state.rate_cuts] == [(8, "the loss stopped being finite")]
    assert trainer.attachment.is_finite()


def test_more_minutes_go_on_too(tmp_path: Path) -> None:
    first = run(tmp_path, config=CONFIG.model_copy(update={"minutes": 1e-6}))[0].state
    assert first.iteration == 1
    state = run(tmp_path, config=CONFIG.model_copy(update={"minutes": 10.0}))[0].state
    assert (state.iteration, state.finished) == (24, True)
    assert state.schedule_start is not None


def test_time_budget_ends_early_with_a_saved_state(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"minutes": 1e-6})
    outcome, _, _ = run(tmp_path, config=config)
    assert outcome.state.iteration == 1
    assert (tmp_path / "training" / "state.safetensors").exists()


@pytest.mark.parametrize(("fall_db", "count"), [(0.5, 1), (0.02, 0)])
def test_a_score_below_the_backbones_is_told_of_in_the_second_half_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fall_db: float, count: int
) -> None:
    """Where it is below by more than what says nothing."""
    warned: list[str] = []
    progress = Silent()
    progress.warn = warned.append  # type: ignore[method-assign]
    scores, real = iter([20.0, 20.0 - fall_db]), Validator.score

    def score(validator: Validator, *args: Any, **how: Any) -> Any:
        return replace(real(validator, *args, **how), psnr_y_db=next(scores))

    monkeypatch.setattr(Validator, "score", score)
    config = STEADY.model_copy(update={"minutes": 1e-6})
    outcome, _, _ = run(tmp_path, config=config, progress=progress)
    assert outcome.state.iteration == 1
    assert ["the held-out score is below the backbone's" in line for line in warned] == [True] * count


def test_torn_last_log_line_is_left_out(tmp_path: Path) -> None:
    run(tmp_path)
    log = tmp_path / "training" / "log.jsonl"
    whole = read_log(log)
    with log.open("a") as handle:
        handle.write('{"iteration": 99, "lo')
    assert read_log(log) == whole
    append_row(tmp_path / "new.jsonl", whole[0])
    assert read_log(tmp_path / "new.jsonl") == whole[:1]


def test_a_hole_across_which_two_numbers_ran_together_is_seen(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"iteration":4,"loss":2.5,"parts":{"l1":1.3352508842945099}}\n')
    assert read_log(log)[0].parts == {"l1": 1.3352508842945099}
    log.write_text('{"iteration":4,"loss":2.5,"parts":{"l1":1.3352508842945096945496}}\n')
    with pytest.raises(ArtifactError, match=r"log\.jsonl: a part of the file is missing"):
        read_log(log)


def test_damaged_state_is_one_line(tmp_path: Path) -> None:
    run(tmp_path)
    state = tmp_path / "training" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"state\.safetensors"):
        run(tmp_path)
