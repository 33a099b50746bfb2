"""Spread, bootstrap intervals and the paired test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from adaptsr_cli.metrics.statistics import Resampling, common_scores, compare_paired, spread_of


def alone(images: int, seed: int = 0) -> Resampling:
    """Every image a scene of its own."""
    return Resampling([str(image) for image in range(images)], seed)


def test_the_spread_is_that_of_a_sample_and_the_interval_covers_the_mean() -> None:
    values = np.random.default_rng(0).normal(30, 2, 200)
    spread = spread_of(list(values), alone(200, 0))
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
    first, again, other = (spread_of(values, alone(7, seed)) for seed in (0, 0, 1))
    assert first == again
    assert first.ci95_low != other.ci95_low


def test_one_image_tells_nothing_of_others() -> None:
    spread = spread_of([30.0], alone(1, 0))
    assert (spread.std, spread.ci95_low, spread.ci95_high) == (None, None, None)
    test = compare_paired({"a": [1.0], "b": [2.0]}, "m", "b", "a", alone(1, 0))
    assert (test.mean_difference, test.p_value, test.larger) == (1, None, 1)


def test_a_steady_small_gain_is_told_from_chance_though_the_images_vary_much() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(30, 5, 20)
    scores = {"a": list(first), "b": list(first + rng.normal(0.1, 0.05, 20))}
    test = compare_paired(scores, "psnr_y_db", "b", "a", alone(20, 0))
    assert test.p_value is not None
    assert test.p_value < 0.001
    assert test.ci95_low is not None
    assert test.ci95_low > 0
    unpaired = [spread_of(values, alone(20, 0)) for values in scores.values()]
    assert unpaired[0].ci95_high is not None
    assert unpaired[1].ci95_low is not None
    assert unpaired[0].ci95_high > unpaired[1].ci95_low  # what the means alone would not have told


def test_permutation_figures_worked_out_by_hand() -> None:
    five = {"a": [0.0] * 5, "b": [1.0, 2.0, 3.0, 4.0, 5.0]}
    test = compare_paired(five, "m", "b", "a", alone(5))
    assert test.p_value == pytest.approx(2 / 2**5)  # all of one sign: the best that five images can give
    assert test.least_p_value == test.p_value
    assert (test.larger, test.smaller, test.mean_difference, test.test, test.scenes) == (5, 0, 3, "permutation", 5)
    # Sums as large as -1 + 2 + 3 + 4 = 8: that itself, and 1 + 2 + 3 + 4 = 10, each with its mirror image.
    mixed = {"a": [0.0] * 4, "b": [-1.0, 2.0, 3.0, 4.0]}
    assert compare_paired(mixed, "m", "b", "a", alone(4)).p_value == pytest.approx(2 * 2 / 2**4)


def test_sizes_count_where_ranks_alone_are_undecided() -> None:
    scores = {"a": [0.0] * 9, "b": [1.0, 1.1, 0.9, 1.2, 0.8, 1.3, 1.05, 0.95, -0.01]}
    test = compare_paired(scores, "m", "b", "a", alone(9))
    assert test.p_value == pytest.approx(2 * 2 / 2**9)


def test_images_of_one_scene_are_one_witness() -> None:
    scenes = ["x"] * 10 + ["y"] * 10 + ["z"] * 10
    differences = list(np.repeat([0.5, 0.4, 0.6], 10) + np.random.default_rng(0).normal(0, 0.01, 30))
    scores = {"a": [0.0] * 30, "b": differences}
    together, apart = (
        compare_paired(scores, "m", "b", "a", resampling) for resampling in (Resampling(scenes, 0), alone(30))
    )
    assert together.p_value == pytest.approx(2 / 2**3)
    assert apart.p_value is not None
    assert apart.p_value < 0.001
    assert together.mean_difference == apart.mean_difference
    widths = [(test.ci95_high or 0) - (test.ci95_low or 0) for test in (together, apart)]
    assert widths[0] > 2 * widths[1]
    assert compare_paired(scores, "m", "b", "a", Resampling(["x"] * 30, 0)).p_value is None


def test_drawn_permutations_are_near_the_exact_ones_and_the_same_each_time() -> None:
    differences = list(np.random.default_rng(3).normal(0.4, 1.0, 30))
    scores = {"a": [0.0] * 30, "b": differences}
    first, again = (compare_paired(scores, "m", "b", "a", alone(30)) for _ in range(2))
    assert first == again
    assert first.p_value == pytest.approx(ttest_1samp(differences, 0).pvalue, abs=0.01)


def test_equal_scores_are_no_evidence() -> None:
    test = compare_paired({"a": [1.0, 2.0], "b": [1.0, 2.0]}, "m", "b", "a", alone(2, 0))
    assert (test.p_value, test.larger, test.smaller) == (1, 0, 0)


@pytest.mark.parametrize("count", [2, 5, 60])
def test_ties_and_zeros_are_no_fault(count: int) -> None:
    scores = {"a": [1.0] * count, "b": [1.0, *([2.0] * (count - 1))]}
    test = compare_paired(scores, "m", "b", "a", alone(count, 0))
    assert test.p_value is not None
    assert 0 <= test.p_value <= 1


def test_means_are_over_images_that_every_model_has() -> None:
    images = [
        {"a": {"psnr": 1.0, "blur": 5.0}, "b": {"psnr": 2.0}},
        {"a": {"psnr": 3.0, "blur": 6.0}, "b": {"psnr": 4.0, "blur": 7.0}},
    ]
    assert common_scores(images) == {"psnr": {"a": [1, 3], "b": [2, 4]}, "blur": {"a": [6], "b": [7]}}
    assert common_scores([{"a": {"blur": 1.0}, "b": {}}]) == {}
