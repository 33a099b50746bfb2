"""When a training is lost, and which adapter is kept."""

from __future__ import annotations

import pytest

from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.artifacts.train_state import LoopState, RunFingerprint
from adaptsr_cli.training.recovery import COLLAPSE_DB, is_lost, keeps

CONFIG = TrainConfig(
    preset="fast", iterations=100, batch=1, patch_px=16, learning_rate=1e-3, schedule="cosine", alpha=1.0, val_freq=10,
    save_freq=10, precision="fp32", seed=0
)  # fmt: skip
BACKBONE_DB, BEST_DB = 30.0, 30.4


def at(iteration: int) -> LoopState:
    plan = RunFingerprint(config=CONFIG, backbone_sha256="", data_fingerprint="", ranks={})
    return LoopState(
        plan=plan, iteration=iteration, backbone_psnr_y_db=BACKBONE_DB, best_psnr_y_db=BEST_DB, best_iteration=0
    )


@pytest.mark.parametrize(
    ("seeks_psnr", "score", "lost"),
    [(True, 29.8, False), (True, 29.7, True), (False, 27.1, False), (False, 26.9, True), (False, float("nan"), True)],
)
def test_psnr_may_fall_a_little_and_of_the_perceptual_objective_more(
    seeks_psnr: bool, score: float, lost: bool
) -> None:
    assert is_lost(score, at(50), CONFIG, seeks_psnr=seeks_psnr) == lost
    assert not is_lost(score, at(100), CONFIG, seeks_psnr=seeks_psnr)  # nothing is left to do better


def test_the_best_is_kept_or_the_latest_that_has_not_collapsed() -> None:
    assert [keeps(score, at(50), seeks_psnr=True) for score in (30.3, 30.5)] == [False, True]
    limit = BACKBONE_DB - COLLAPSE_DB
    assert [keeps(score, at(50), seeks_psnr=False) for score in (limit - 0.1, limit, 30.3)] == [False, True, True]
