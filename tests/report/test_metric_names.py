"""Metrics in words, and which way is better."""

from __future__ import annotations

import pytest

from adaptsr_cli.report.metric_names import metric_label, metric_text, name_metric, rank_values


def test_metrics_are_named_for_people() -> None:
    labels = {
        "psnr_y_db": "PSNR-Y",
        "ssim_rgb": "SSIM-RGB",
        "ms_ssim_y": "MS-SSIM-Y",
        "lpips_squeeze": "LPIPS (squeeze)",
        "dists": "DISTS",
        "delta_e_2000": "ΔE2000",
    }
    assert {key: metric_label(key) for key in labels} == labels
    assert metric_text("psnr_y_db", 27.314) == "27.31 dB"
    assert metric_text("ssim_y", 0.81234) == "0.8123"
    assert metric_text("blur_px", 1.234) == "1.23 px"


@pytest.mark.parametrize(("key", "arrow"), [
    ("psnr_rgb_db", "↑"),
    ("ssim_y", "↑"),
    ("ms_ssim_rgb", "↑"),
    ("lpips_alex", "↓"),
    ("dists", "↓"),
    ("delta_e_2000", "↓"),
    ("blur_px", ""),
    ("noise_levels", ""),
])  # fmt: skip
def test_every_metric_has_a_way(key: str, arrow: str) -> None:
    assert name_metric(key).arrow == arrow


def test_places_are_those_of_what_a_table_shows() -> None:
    assert rank_values("psnr_y_db", [30.0, 32.0, 31.0]) == [3, 1, 2]
    assert rank_values("dists", [0.3, 0.1, 0.2]) == [3, 1, 2]
    assert rank_values("psnr_y_db", [30.001, 30.0, 29.0]) == [1, 1, 2]  # both are 30.00
    assert rank_values("noise_levels", [3.0, 1.0]) == [0, 0]
