"""The dial between faithful and sharp in the report: the perception-distortion curve, and its table."""

from __future__ import annotations

from typing import Final

from adaptsr_cli.artifacts.evaluation import DialCurve
from adaptsr_cli.report.charts import Chart, Line, line_chart
from adaptsr_cli.report.metric_names import metric_label, name_metric

_DISTORTION: Final = "psnr_y_db"
_PERCEPTION: Final = ("lpips", "dists", "niqe")  # how the keys of metrics that follow the eye begin


def dial_charts(curve: DialCurve) -> list[Chart]:
    """Every perceptual metric against PSNR-Y, a dot for each setting; nothing where one of the two is missing."""
    keys = [key for key in curve.points[0].metrics if key.startswith(_PERCEPTION)]
    if _DISTORTION not in curve.points[0].metrics:
        return []
    return [_chart(curve, key) for key in keys]


def _chart(curve: DialCurve, key: str) -> Chart:
    x = [point.metrics[_DISTORTION] for point in curve.points]
    y = [point.metrics[key] for point in curve.points]
    before_x, before_y = curve.backbone[_DISTORTION], curve.backbone[key]
    first, last = curve.points[0].sharpness, curve.points[-1].sharpness
    ends = [min(*y, before_y), max(*y, before_y)]
    lines: list[Line] = [
        (f"sharpness {first:g} (right) to {last:g} (left)", "strong", x, y),
        *(("", "strong dot", [across] * 2, [up] * 2) for across, up in zip(x, y, strict=True)),
        ("backbone, and its PSNR-Y", "level", [before_x] * 2, ends),
        ("", "level dot", [before_x] * 2, [before_y] * 2),
    ]
    summary = (
        f"From sharpness {first:g} to {last:g}, {metric_label(key)} goes from {y[0]:.4g} to {y[-1]:.4g} and PSNR-Y "
        f"from {x[0]:.2f} to {x[-1]:.2f} dB; the backbone has {before_y:.4g} and {before_x:.2f} dB."
    )
    return line_chart(f"{metric_label(key)} against PSNR-Y", summary, "PSNR-Y, dB", lines)


def describe_equal(curve: DialCurve) -> str:
    """Where on the dial the PSNR-Y of the backbone lies: ``that of sharpness 0.62``; empty where nobody knows."""
    if _DISTORTION not in curve.backbone or _DISTORTION not in curve.points[0].metrics:
        return ""
    setting = curve.equal_psnr
    if setting is None:
        return "above that of any sharpness"
    last = curve.points[-1].sharpness
    return f"below that of any sharpness up to {last:g}" if setting == last else f"that of sharpness {setting:.2f}"


def dial_table(curve: DialCurve) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns, and a row for the backbone and for each setting."""
    keys = list(curve.points[0].metrics)
    settings = [(f"sharpness {point.sharpness:g}", point.metrics) for point in curve.points]
    return (
        ("", *(f"{metric_label(key)} {name_metric(key).arrow}".strip() for key in keys)),
        [
            (name, *(f"{found[key]:.{name_metric(key).digits}f}" for key in keys))
            for name, found in [("backbone", curve.backbone), *settings]
        ],
    )
