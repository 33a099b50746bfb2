"""The guard prefers the picture that the camera would have taken, and says no where there is no clear gain."""

from __future__ import annotations

import numpy as np
import pytest
from imaging.scenes import dead_leaves

from adaptsr_cli.artifacts.transfer import IDENTITY, CameraNoise, TransferFunction
from adaptsr_cli.imaging.guard import agreement, consistencies, consistency, disputed_share, judge_training
from adaptsr_cli.imaging.sharp_photographs import SimulatedCamera, photograph

TRANSFER = TransferFunction(blur_px=2.5)
LR = photograph(
    dead_leaves(3), 4, SimulatedCamera(TRANSFER, CameraNoise(read_variance=0.0), (None,)), np.random.default_rng(0)
)


def repeat(lr: np.ndarray) -> np.ndarray:
    return lr.repeat(4, axis=0).repeat(4, axis=1)


def test_the_true_scene_is_the_most_consistent() -> None:
    true = consistency(dead_leaves(3), LR, TRANSFER, 4)
    assert true < 0.5
    assert true < consistency(repeat(LR), LR, TRANSFER, 4)
    assert true < consistency(dead_leaves(3), LR, IDENTITY, 4)


def test_sizes_must_go_together() -> None:
    with pytest.raises(ValueError, match="no x4"):
        consistency(LR, LR, TRANSFER, 4)


def test_networks_are_compared_over_photographs_and_draws() -> None:
    draws = (TRANSFER, TransferFunction(blur_px=2.0))
    errors = consistencies(repeat, [LR, LR[8:]], draws, 4)
    assert errors.shape == (2, 2)
    assert agreement(repeat, repeat, [LR]) == 0
    assert disputed_share(repeat, repeat, repeat, [LR]) == 0


@pytest.mark.parametrize(
    ("falls", "keep", "words"),
    [
        ([[0.5, 0.4], [0.6, 0.5], [0.5, 0.5]], True, "more consistent"),
        ([[-0.5, -0.4], [-0.6, -0.5], [-0.5, -0.5]], False, "less consistent"),
        ([[0.9, 0.9], [-0.8, -0.8], [0.1, 0.1]], False, "no clear gain"),
        ([[0.9, -0.1], [0.8, -0.1], [0.85, -0.1]], False, "50%"),
    ],
)
def test_the_verdict(falls: list[list[float]], keep: bool, words: str) -> None:
    trained = np.ones((3, 2))
    verdict = judge_training(trained + np.array(falls), trained)
    assert verdict.keep is keep
    assert words in verdict.reason


def test_errors_that_do_not_compare_are_refused() -> None:
    with pytest.raises(ValueError, match="do not compare"):
        judge_training(np.ones((2, 2)), np.ones((3, 2)))
