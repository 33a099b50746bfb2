from __future__ import annotations

import numpy as np
import pytest

from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.report.series import series_of, smooth


def test_series_is_sorted_and_the_last_record_of_an_iteration_counts() -> None:
    log = [
        LogRow(iteration=20, loss=0.2),
        LogRow(iteration=10, loss=0.5),
        LogRow(iteration=15, val_psnr_y_db=27.0),
        LogRow(iteration=20, loss=0.3),
    ]
    assert series_of(log, lambda row: row.loss) == ([10, 20], [0.5, 0.3])
    assert series_of(log, lambda row: row.val_psnr_y_db) == ([15], [27.0])
    assert series_of([], lambda row: row.loss) == ([], [])


def test_smoothing_is_the_mean_of_the_window() -> None:
    np.testing.assert_allclose(smooth([0.0, 3.0, 6.0, 0.0]), [1.5, 3.0, 3.0, 3.0])


@pytest.mark.parametrize("count", [1, 2, 7, 400])
def test_smoothing_keeps_a_constant_and_the_length(count: int) -> None:
    np.testing.assert_allclose(smooth([0.25] * count), np.full(count, 0.25))


def test_smoothing_takes_noise_away() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    assert smooth(list(values)).std() < 0.3 * values.std()
