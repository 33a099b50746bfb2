"""Learning-rate schedules."""

from __future__ import annotations

import pytest

from adaptsr_cli.training.presets import TRAIN_PRESETS
from adaptsr_cli.training.schedule import learning_rate


def test_paper_steps() -> None:
    rates = [learning_rate(1e-3, "steps", done) for done in (0.0, 0.499, 0.5, 0.749, 0.75, 0.899, 0.9, 1.0)]
    assert rates == pytest.approx([1e-3, 1e-3, 7.5e-4, 7.5e-4, 5.625e-4, 5.625e-4, 4.21875e-4, 4.21875e-4])


def test_constant_warms_up_and_stays() -> None:
    rates = [learning_rate(1.0, "constant", step / 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[:6] == sorted(rates[:6])
    assert set(rates[5:]) == {1.0}


def test_cosine_warms_up_and_falls_to_a_hundredth() -> None:
    rates = [learning_rate(1.0, "cosine", step / 100) for step in range(101)]
    assert rates[:6] == sorted(rates[:6])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[0] == pytest.approx(0.01)
    assert rates[5] > 0.99
    assert (rates[50], rates[100]) == pytest.approx((0.505, 0.01))


def test_paper_preset_is_section_4_1() -> None:
    paper = TRAIN_PRESETS["paper"]
    assert (paper.iterations, paper.batch, paper.patch_px) == (100_000, 8, 256)
    assert (paper.learning_rate, paper.schedule, paper.alpha) == (1e-3, "steps", 1.0)
    assert paper.recolour == 0
