"""Display names of the metric keys of ``eval.json``, and which direction is better."""

from __future__ import annotations

from collections.abc import Sequence

from adaptsr_cli.artifacts.metrics import MetricName, find_metric_name


def name_metric(key: str) -> MetricName:
    """Find the words of a metric's key.

    A key that is not known, of another version of the program, is written as it is, lower being better.
    """
    if (known := find_metric_name(key)) is not None:
        return known
    family, _, variant = key.partition("_")
    return MetricName(f"{family.upper()} ({variant})" if variant else family.upper())


def metric_label(key: str) -> str:
    """How a metric key is written for people: ``PSNR-Y``, ``LPIPS (squeeze)``."""
    return name_metric(key).label


def metric_text(key: str, value: float) -> str:
    """A value with its unit: ``27.31 dB``, ``0.8123``."""
    name = name_metric(key)
    return f"{value:.{name.digits}f} {name.unit}".rstrip()


def rank_values(key: str, values: Sequence[float]) -> list[int]:
    """The place of each value, 1 for the best; values that look the same in a table share a place.

    Args:
        key: The metric.
        values: Of the models.

    Returns:
        Places without gaps, as tables mark best and second best; all 0 where no way is better.
    """
    name = name_metric(key)
    if name.better is None:
        return [0] * len(values)
    shown = [round(value, name.digits) for value in values]
    order = sorted(set(shown), reverse=name.better == "higher")
    return [order.index(value) + 1 for value in shown]
