"""What lowers the learning rate, from where training goes on then, and which adapter is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from training.test_loop import CONFIG, STEADY, Batches, Held, make_trainer, run, run_in, same

from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.artifacts.train_state import LoopState, RateCut, RunFingerprint
from adaptsr_cli.errors import TrainingError
from adaptsr_cli.progress import Silent
from adaptsr_cli.training.folder import TrainingFolder
from adaptsr_cli.training.log import read_log
from adaptsr_cli.training.recovery import COLLAPSE_DB, find_fault, keeps, note_joint_score
from adaptsr_cli.training.state import adapter_tensors, read_state
from adaptsr_cli.training.validation import Validator

OFTEN = STEADY.model_copy(update={"val_freq": 4, "save_freq": 4})
BACKBONE_DB, BEST_DB = 30.0, 30.4


def at(iteration: int, config: TrainConfig = CONFIG) -> LoopState:
    """Where a training of 100 iterations stands."""
    plan = RunFingerprint(
        config=config.model_copy(update={"iterations": 100}), backbone_sha256="", data_fingerprint="", ranks={}
    )
    return LoopState(
        plan=plan, iteration=iteration, backbone_psnr_y_db=BACKBONE_DB, best_psnr_y_db=BEST_DB, best_iteration=20
    )


@pytest.mark.parametrize(
    ("seeks_psnr", "score", "lost"),
    [(True, 29.8, False), (True, 29.7, True), (False, 27.1, False), (False, 26.9, True), (False, float("nan"), True)],
)
def test_psnr_may_fall_a_little_and_of_the_perceptual_objective_more(
    seeks_psnr: bool, score: float, lost: bool
) -> None:
    assert (find_fault(score, at(50), seeks_psnr=seeks_psnr) is not None) == lost
    assert find_fault(score, at(100), seeks_psnr=seeks_psnr) is None  # nothing is left to do better


@pytest.mark.parametrize("config", [CONFIG, STEADY])
@pytest.mark.parametrize(("score", "lost"), [(29.6, False), (29.4, True)])
def test_few_held_out_images_may_fall_farther(score: float, lost: bool, config: TrainConfig) -> None:
    state = at(50, config).model_copy(update={"best_psnr_y_db": BACKBONE_DB})
    assert (find_fault(score, state, seeks_psnr=True, few_images=True) is not None) == lost
    assert find_fault(score, state, seeks_psnr=True) is not None


@pytest.mark.parametrize("count", [1, 4])
def test_the_loop_tells_whether_few_images_are_held_out(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def find(score: float, state: LoopState, *, few_images: bool, seeks_psnr: bool) -> None:
        asked.append(few_images)

    monkeypatch.setattr("adaptsr_cli.training.loop.find_fault", find)
    monkeypatch.setattr(Held, "__len__", lambda held: count)
    run(tmp_path, config=OFTEN)
    assert set(asked) == {count < 4}


@pytest.mark.parametrize(
    ("score", "iteration", "config", "seeks_psnr", "fallen"),
    [
        (BEST_DB - 0.05, 50, STEADY, True, True),
        (BEST_DB - 0.03, 50, STEADY, True, False),  # less than a tenth of the gain
        (BEST_DB - 0.05, 25, STEADY, True, False),  # a trial of a search, which is to show what its rate does
        (BEST_DB - 0.05, 100, STEADY, True, False),
        (BEST_DB - 0.05, 50, CONFIG, True, False),  # the rate falls by itself
        (BEST_DB - 0.05, 50, STEADY, False, False),
    ],
)
def test_a_mean_that_has_lost_a_tenth_of_its_gain_lowers_the_rate(
    score: float, iteration: int, config: TrainConfig, seeks_psnr: bool, fallen: bool
) -> None:
    fault = find_fault(score, at(iteration, config), seeks_psnr=seeks_psnr)
    assert (fault is not None and fault.spares_best) == fallen


@pytest.mark.parametrize(
    ("score", "joint", "fallen"),
    [
        (BEST_DB - 0.05, (30.7, 30.9, 31.0), False),  # the held-out image alone
        (BEST_DB - 0.05, (30.7, 31.0, 30.9), True),
        (BEST_DB - 0.05, (30.7, 31.0, None), True),
        (BEST_DB - 0.05, (None, None, None), True),
        (BACKBONE_DB - 0.3, (30.7, 30.9, 31.0), True),  # well below the backbone it is a fault all the same
    ],
)
def test_a_fall_says_nothing_while_images_that_are_trained_on_make_up_for_it(
    score: float, joint: tuple[float | None, ...], fallen: bool
) -> None:
    state = at(50, STEADY)
    for joint_db in joint:
        state = note_joint_score(state, joint_db)
    assert (find_fault(score, state, seeks_psnr=True) is not None) == fallen


@pytest.mark.parametrize(("gained_db", "fallen"), [(0.0, False), (0.02, False), (0.06, True)])
def test_a_mean_that_has_gained_nothing_yet_has_nothing_to_lose(gained_db: float, fallen: bool) -> None:
    best_db = BACKBONE_DB + gained_db
    state = at(35, STEADY).model_copy(update={"best_psnr_y_db": best_db, "best_iteration": 20 if gained_db else 0})
    assert (find_fault(best_db - 0.1, state, seeks_psnr=True) is not None) == fallen


@pytest.mark.parametrize(("back_to", "fallen"), [(0, False), (20, True)])
def test_a_best_adapter_that_was_given_up_is_no_measure(back_to: int, fallen: bool) -> None:
    cut = RateCut(iteration=40, reason="", back_to=back_to)
    state = at(50, STEADY).model_copy(update={"rate_cuts": (cut,)})
    assert (find_fault(BEST_DB - 0.1, state, seeks_psnr=True) is not None) == fallen


def test_the_best_is_kept_or_the_latest_that_has_not_collapsed() -> None:
    assert [keeps(score, at(50), seeks_psnr=True) for score in (30.3, 30.5)] == [False, True]
    limit = BACKBONE_DB - COLLAPSE_DB
    assert [keeps(score, at(50), seeks_psnr=False) for score in (limit - 0.1, limit, 30.3)] == [False, True, True]


def test_loss_that_is_not_finite_lowers_the_rate_and_goes_on(tmp_path: Path) -> None:
    progress = Silent()
    outcome, _, _ = run(tmp_path, Batches(12, "nan"), progress=progress)
    state = outcome.state
    assert state.iteration == 24
    assert [(cut.iteration, cut.back_to) for cut in state.rate_cuts] == [(15, 8)]
    assert state.best_psnr_y_db > state.backbone_psnr_y_db
    assert progress.warnings == [
        "the loss stopped being finite at iteration 15: going on from the adapter of iteration 8 with 1/4 of the "
        "learning rate, 0.0013 at its peak"
    ]
    rows = read_log(tmp_path / "training" / "log.jsonl")
    assert all(np.isfinite(row.loss) for row in rows if row.loss is not None)


@pytest.mark.parametrize(
    ("config", "batches"), [(CONFIG, (12, "nan")), (STEADY, (12, "nan")), (OFTEN, (10, "misleading"))]
)
def test_going_on_at_a_lower_rate_is_resumed_bit_for_bit(
    config: TrainConfig, batches: tuple[int, str], tmp_path: Path
) -> None:
    for name in ("straight", "broken"):
        (tmp_path / name).mkdir()
    outcome, kept, straight = run(tmp_path / "straight", Batches(*batches), config)
    with pytest.raises(OSError, match="the power went"):
        run(tmp_path / "broken", Batches(*batches, crash_at=18), config)
    outcome_later, kept_later, resumed = run(tmp_path / "broken", Batches(*batches), config)
    assert outcome_later.state.rate_cuts == outcome.state.rate_cuts != ()
    assert same(resumed.state(), straight.state())
    assert kept_later.keys() == {iteration for iteration in kept if iteration > 15}  # saved there or at 16
    assert all(same(adapter, kept[iteration]) for iteration, adapter in kept_later.items())


def test_a_loss_that_is_never_finite_ends_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="stopped being finite") as caught:
        run(tmp_path, Batches(-1, "always nan"), CONFIG.model_copy(update={"iterations": 90}))
    assert "state.safetensors" in caught.value.hint


@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_a_rate_far_too_high_ends_with_a_good_adapter_and_says_so(rate: float, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"iterations": 60, "val_freq": 4, "learning_rate": rate})
    progress = Silent()
    outcome, _, _ = run(tmp_path, config=config, progress=progress)
    assert outcome.state.rate_cuts
    assert "of the learning rate" in progress.warnings[0]
    good = run_in(tmp_path / "good", CONFIG.model_copy(update={"iterations": 60, "val_freq": 4}))
    gains = [found.best_psnr_y_db - found.backbone_psnr_y_db for found in (outcome.state, good)]
    assert gains[0] > 0.5 * gains[1] > 0


def test_a_fall_goes_on_from_the_best_adapter_at_a_lower_rate(tmp_path: Path) -> None:
    progress = Silent()
    with pytest.raises(OSError, match="the power went"):
        run(tmp_path, Batches(10, "misleading", crash_at=16), OFTEN, progress)
    state, tensors = read_state(TrainingFolder(tmp_path / "training").state)
    assert [(cut.iteration, cut.back_to, cut.factor) for cut in state.rate_cuts] == [(16, 12, 0.25)]
    assert progress.notes[-1].endswith(
        "at iteration 16: going on from the adapter of iteration 12 with 1/4 of the learning rate, 0.0013 at its peak"
    )
    (tmp_path / "good").mkdir()
    kept = run(tmp_path / "good", Batches(10, "misleading"), OFTEN)[1]
    assert same(adapter_tensors(tensors), kept[12])


def test_a_late_failure_goes_on_from_what_was_scored_best_and_not_from_its_last_step(tmp_path: Path) -> None:
    """The mean of the steps; the last of them alone may be far worse, and then no rate is low enough."""
    with pytest.raises(OSError, match="the power went"):
        run(tmp_path, Batches(18, "nan", crash_at=20), OFTEN)
    folder = TrainingFolder(tmp_path / "training")
    state, tensors = read_state(folder.state)
    assert [(cut.iteration, cut.back_to) for cut in state.rate_cuts] == [(20, 16)]
    last_step = adapter_tensors(read_state(folder.good)[1])
    (tmp_path / "good").mkdir()
    kept = run(tmp_path / "good", Batches(18, "nan"), OFTEN)[1]
    assert same(adapter_tensors(tensors), kept[16])
    assert not same(adapter_tensors(tensors), last_step)


class Misleading(Held):
    """Pairs of the kind that misleading batches are of: the HR side is much darker."""

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        lr = super().read(index)[0]
        return lr, np.maximum(lr.repeat(4, axis=0).repeat(4, axis=1).astype(int) - 128, 0).astype(np.uint8)


@pytest.mark.parametrize(("training", "cuts"), [(Held(), [(16, 12)]), (Misleading(), [])])
def test_a_fall_of_few_held_out_images_alone_does_not_lower_the_rate(
    training: Held, cuts: list[tuple[int, int]], tmp_path: Path
) -> None:
    trainer, _ = make_trainer(tmp_path, Batches(10, "misleading", crash_at=18), OFTEN)
    trainer.validator = Validator(Held(), 4, training=training)
    with pytest.raises(OSError, match="the power went"):
        trainer.run(Silent())
    state = read_state(TrainingFolder(tmp_path / "training").state)[0]
    assert [(cut.iteration, cut.back_to) for cut in state.rate_cuts] == cuts


def test_an_early_failure_goes_back_to_the_start_and_a_late_one_to_the_best(tmp_path: Path) -> None:
    for at_iteration, back_to in ((6, 0), (18, 16)):
        folder = tmp_path / str(at_iteration)
        folder.mkdir()
        state = run(folder, Batches(at_iteration, "nan"), OFTEN)[0].state
        assert [cut.back_to for cut in state.rate_cuts] == [back_to]
