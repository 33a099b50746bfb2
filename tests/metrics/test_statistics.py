"""Spread, bootstrap intervals and the paired test."""

from __future__ import annotations

import numpy as np
import pytest

from adaptsr_cli.metrics.statistics import Bootstrap, common_scores, compare_paired, spread_of


def test_the_spread_is_that_of_a_sample_and_the_interval_covers_the_mean() -> None:
    values = np.random.default_rng(0).normal(30, 2, 200)
    spread = spread_of(list(values), Bootstrap(200, 0))
    assert spread.images == 200
    assert spread.std == pytest.approx(values.std(ddof=1))
    assert spread.ci95_low is not None
    assert spread.ci95_high is not None
    # of a mean of 200 normal values: 1.96 s / sqrt(200) to either side, and the draws' own error
    half = 1.96 * values.std(ddof=1) / np.sqrt(200)
    assert spread.ci95_low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert spread.ci95_high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_the_seed_decides_the_interval() -> None:
    values = [1.0, 2.0, 4.0, 8.0, 16.0, 33.0, 70.0]
    first, again, other = (spread_of(values, Bootstrap(7, seed)) for seed in (0, 0, 1))
    assert first == again
    assert first.ci95_low != other.ci95_low


def test_one_image_tells_nothing_of_others() -> None:
    spread = spread_of([30.0], Bootstrap(1, 0))
    assert (spread.std, spread.ci95_low, spread.ci95_high) == (None, None, None)
    test = compare_paired({"a": [1.0], "b": [2.0]}, "m", "b", "a", Bootstrap(1, 0))
    assert (test.mean_difference, test.p_value, test.larger) == (1, None, 1)


def test_a_steady_small_gain_is_told_from_chance_though_the_images_vary_much() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(30, 5, 20)
    scores = {"a": list(first), "b": list(first + rng.normal(0.1, 0.05, 20))}
    test = compare_paired(scores, "psnr_y_db", "b", "a", Bootstrap(20, 0))
    assert test.p_value is not None
    assert test.p_value < 0.001
    assert test.ci95_low is not None
    assert test.ci95_low > 0
    unpaired = [spread_of(values, Bootstrap(20, 0)) for values in scores.values()]
    assert unpaired[0].ci95_high is not None
    assert unpaired[1].ci95_low is not None
    assert unpaired[0].ci95_high > unpaired[1].ci95_low  # what the means alone would not have told


def test_signed_rank_figures_worked_out_by_hand() -> None:
    five = {"a": [0.0] * 5, "b": [1.0, 2.0, 3.0, 4.0, 5.0]}
    test = compare_paired(five, "m", "b", "a", Bootstrap(5, 0))
    assert test.p_value == pytest.approx(2 / 2**5)  # all of one sign: the best that five images can give
    assert (test.larger, test.smaller, test.mean_difference) == (5, 0, 3)
    mixed = {"a": [0.0] * 4, "b": [-1.0, 2.0, 3.0, 4.0]}  # rank sum 1 of the negative one: 2 of 16 are as extreme
    assert compare_paired(mixed, "m", "b", "a", Bootstrap(4, 0)).p_value == pytest.approx(2 * 2 / 2**4)


def test_equal_scores_are_no_evidence() -> None:
    test = compare_paired({"a": [1.0, 2.0], "b": [1.0, 2.0]}, "m", "b", "a", Bootstrap(2, 0))
    assert (test.p_value, test.larger, test.smaller) == (1, 0, 0)


@pytest.mark.parametrize("count", [2, 5, 60])
def test_ties_and_zeros_are_no_fault(count: int) -> None:
    scores = {"a": [1.0] * count, "b": [1.0, *([2.0] * (count - 1))]}
    test = compare_paired(scores, "m", "b", "a", Bootstrap(count, 0))
    assert test.p_value is not None
    assert 0 <= test.p_value <= 1


def test_means_are_over_images_that_every_model_has() -> None:
    images = [
        {"a": {"psnr": 1.0, "blur": 5.0}, "b": {"psnr": 2.0}},
        {"a": {"psnr": 3.0, "blur": 6.0}, "b": {"psnr": 4.0, "blur": 7.0}},
    ]
    assert common_scores(images) == {"psnr": {"a": [1, 3], "b": [2, 4]}, "blur": {"a": [6], "b": [7]}}
    assert common_scores([{"a": {"blur": 1.0}, "b": {}}]) == {}
