"""The page shows what was found of the camera, and what the guard of a training without pairs chose."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report.pages import make_content
from report.test_camera import ESTIMATE, OF_PAIRS

from adaptsr_cli.artifacts.camera import CameraEstimate, Percentiles
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.artifacts.transfer import CameraNoise
from adaptsr_cli.report.camera_charts import Estimate, camera_charts, describe_camera, guard_charts
from adaptsr_cli.report.html import render_report

ALONE = CameraEstimate(
    photos=2, noise_levels=Percentiles(low=1, median=2, high=3), jpeg_photos=0, jpeg_quality=None, blur_px=None
)
GUARD = GuardRecord(
    adapter_sha256="0" * 64,
    varied="cameras",
    versions=12,
    images=6,
    strengths=(0.0, 0.5, 1.0),
    low_db=(0.0, 0.2, -0.3),
    median_db=(0.0, 0.3, 0.4),
    strength=0.5,
)


def render(estimate: Estimate | None, guard: GuardRecord | None) -> str:
    content = make_content()
    assert content.adaptation is not None
    story = replace(content.adaptation, camera=estimate, guard=guard)
    return render_report(replace(content, adaptation=story)).decode()


@pytest.mark.parametrize(("estimate", "charts"), [(ESTIMATE, 2), (OF_PAIRS, 2), (ALONE, 0)])
def test_the_page_says_what_the_camera_does(estimate: Estimate, charts: int) -> None:
    page = render(estimate, None)
    assert "<h3>The camera</h3>" in page
    assert all(line in page for line in describe_camera(estimate))
    found = camera_charts(estimate)
    assert len(found) == charts
    assert all(chart.title in page for chart in found)
    assert "guard:" not in page


def test_the_page_says_what_the_guard_chose() -> None:
    page = render(ESTIMATE, GUARD)
    assert "guard: strength 0.5" in page
    assert "uncertain" in page
    (chart,) = guard_charts(GUARD)
    assert chart.title in page
    assert len(chart.curves) == 3


def test_a_run_with_pairs_has_no_such_section() -> None:
    assert "<h3>The camera</h3>" not in render(None, None)


def test_a_camera_without_noise_has_a_chart_too() -> None:
    quiet = ESTIMATE.model_copy(update={"noise": CameraNoise(read_variance=0.0), "trustworthy": False})
    assert len(camera_charts(quiet)[1].curves) == 1
    assert "not to be relied on" in describe_camera(quiet)[0]


def test_noise_beside_detail_is_told_and_drawn() -> None:
    noisy = ESTIMATE.model_copy(update={"noise": CameraNoise(read_variance=1.0, texture_variance=1.5)})
    curves = camera_charts(noisy)[1].curves
    assert [curve.label for curve in curves] == ["in flat places", "beside strong detail"]
    # The square root of 1 + 1.5 * 10 at a contrast of 10 levels.
    assert any("1.0 in highlights, 4.0 beside strong detail" in line for line in describe_camera(noisy))


def test_a_guard_that_keeps_the_backbone_says_so_and_contradictions_are_refused() -> None:
    kept = GUARD.model_copy(update={"strength": 0.0})
    assert kept.keeps_backbone
    assert "the backbone is kept" in kept.describe()
    for change in ({"strength": 0.3}, {"low_db": (0.0,)}):
        with pytest.raises(ValueError, match=r"was not tried|as many"):
            GuardRecord.model_validate(GUARD.model_dump() | change)
