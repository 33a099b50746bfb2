"""Charts as numbers: in the plot, and readable."""

from __future__ import annotations

import pytest

from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.report.charts import gain_chart, training_charts


def points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


def test_training_charts_lie_in_the_plot_and_say_the_best() -> None:
    log = [LogRow(iteration=0, val_psnr_y_db=23.0)]
    log += [
        LogRow(iteration=n, loss=9.0 if n == 50 else 1 / n, learning_rate=1e-3, val_psnr_y_db=23 + n / 100)
        for n in range(1, 101)
    ]
    validation, loss, rate = training_charts(log)
    assert "best 24.00 dB at 100" in validation.summary
    assert validation.curves[1].label == "backbone 23.00 dB"
    for chart in (validation, loss, rate):
        assert len(chart.y_ticks) >= 2
        for curve in chart.curves:
            assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y in points(curve.points))
    adapted = points(validation.curves[0].points)
    assert adapted[0][1] > adapted[-1][1]  # up is a smaller number
    assert [tick.label for tick in rate.x_ticks] == ["0", "50", "100"] or len(rate.x_ticks) >= 3


def test_long_logs_are_thinned() -> None:
    log = [LogRow(iteration=n, loss=1.0 + n % 7) for n in range(1, 100_001)]
    (chart,) = training_charts(log)
    found = points(chart.curves[0].points)
    assert len(found) < 450
    assert found[-1][0] == 100


@pytest.mark.parametrize("log", [[], [LogRow(iteration=0, val_psnr_y_db=23.0)], [LogRow(iteration=5, loss=1.0)]])
def test_a_short_log_has_no_curves(log: list[LogRow]) -> None:
    assert training_charts(log) == []


def test_bars_are_sorted_and_harm_has_its_own_colour() -> None:
    chart = gain_chart("PSNR", [("b", -0.1), ("a", 0.2), ("c", 0.0)], "higher")
    assert [bar.title for bar in chart.bars] == ["a", "c", "b"]
    assert [bar.style for bar in chart.bars] == ["good", "good", "bad"]
    good, _, bad = chart.bars
    assert good.top + good.height == pytest.approx(bad.top, abs=0.01)
    assert good.height == pytest.approx(2 * bad.height, abs=0.01)
    assert {"0.0", "−0.1", "0.2"} <= {tick.label for tick in chart.y_ticks} or len(chart.y_ticks) > 3
    lower = gain_chart("LPIPS", [("b", -0.1), ("a", 0.2)], "lower")
    assert [(bar.title, bar.style) for bar in lower.bars] == [("b", "good"), ("a", "bad")]


def test_equal_images_are_no_fault() -> None:
    chart = gain_chart("PSNR", [("a", 0.0), ("b", 0.0)], "higher")
    assert len(chart.bars) == 2
