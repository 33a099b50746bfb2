"""The perception-distortion curve of the report."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report.pages import make_content, make_evaluation

from adaptsr_cli.artifacts.evaluation import DialCurve, DialPoint
from adaptsr_cli.report.dial import describe_equal, dial_charts, dial_table
from adaptsr_cli.report.html import render_report


def make_curve(*psnr_db: float, backbone_db: float = 25.0) -> DialCurve:
    """Settings from 0 to 1 of these scores; LPIPS falls by 0.1 from one to the next."""
    last = len(psnr_db) - 1
    points = [
        DialPoint(sharpness=at / last, metrics={"psnr_y_db": db, "lpips_squeeze": 0.5 - 0.1 * at})
        for at, db in enumerate(psnr_db)
    ]
    return DialCurve(images=3, backbone={"psnr_y_db": backbone_db, "lpips_squeeze": 0.6}, points=tuple(points))


@pytest.mark.parametrize(
    ("scores", "setting", "said"),
    [
        ((26.0, 25.5, 24.5), 0.75, "that of sharpness 0.75"),
        ((26.0, 25.0, 24.0), 0.5, "that of sharpness 0.50"),
        ((26.0, 25.5, 25.1), 1.0, "below that of any sharpness"),
        ((24.9, 24.5, 24.0), None, "above that of any sharpness"),
        ((25.5, 24.5, 25.5), 0.25, "that of sharpness 0.25"),  # it is passed once already
    ],
)
def test_the_setting_of_the_backbones_psnr(scores: tuple[float, ...], setting: float | None, said: str) -> None:
    curve = make_curve(*scores)
    assert curve.equal_psnr == (None if setting is None else pytest.approx(setting))
    assert describe_equal(curve).startswith(said)


def test_a_chart_has_a_dot_for_each_setting_and_one_for_the_backbone() -> None:
    (chart,) = dial_charts(make_curve(26.0, 25.5, 24.5))
    assert chart.title == "LPIPS (squeeze) against PSNR-Y"
    assert [curve.style for curve in chart.curves].count("strong dot") == 3
    line, *_, dot = (curve.points.split() for curve in chart.curves)
    assert len(line) == 3
    assert dot[0] == dot[1]  # a line without length, which the style makes round
    assert "from 26.00 to 24.50 dB" in chart.summary
    columns, rows = dial_table(make_curve(26.0, 25.5, 24.5))
    assert [row[0] for row in rows] == ["backbone", "sharpness 0", "sharpness 0.5", "sharpness 1"]
    assert rows[1][columns.index("PSNR-Y \N{UPWARDS ARROW}")] == "26.00"


def test_without_psnr_there_is_no_curve_and_no_setting() -> None:
    point = DialPoint(sharpness=0.0, metrics={"niqe": 5.0})
    curve = DialCurve(images=1, backbone={"niqe": 6.0}, points=(point, point.model_copy(update={"sharpness": 1.0})))
    assert dial_charts(curve) == []
    assert curve.equal_psnr is None
    assert describe_equal(curve) == ""


def test_the_page_shows_it_only_where_there_is_one() -> None:
    evaluation = make_evaluation()
    dialled = evaluation.model_copy(update={"dial": make_curve(26.0, 25.5, 24.5)})
    content = make_content(evaluation)
    assert b"Between faithful and sharp" not in render_report(content)
    page = render_report(replace(content, evaluation=dialled)).decode()
    assert "that of sharpness 0.75" in page
    assert "LPIPS (squeeze) against PSNR-Y" in page
