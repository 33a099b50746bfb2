"""Display names of the metric keys of ``eval.json``, and which direction is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

_CHANNELS: Final = {"y": "Y", "rgb": "RGB"}


@dataclass(frozen=True)
class MetricName:
    """A metric in words.

    Attributes:
        label: ``PSNR-Y``, ``LPIPS (squeeze)``.
        unit: Behind its values; empty where it has none.
        digits: Behind the point.
        better: Which way is better; None where neither is better by itself.
    """

    label: str
    unit: str
    digits: int
    better: Literal["higher", "lower"] | None

    @property
    def arrow(self) -> str:
        """``↑`` where higher is better, ``↓`` where lower is; empty where neither."""
        return {"higher": "↑", "lower": "↓", None: ""}[self.better]


_SPECIAL: Final[Mapping[str, MetricName]] = {
    "delta_e_2000": MetricName("ΔE2000", "", 2, "lower"),
    # Sharper is no better where it is false, and less noise none where detail went with it.
    "blur_px": MetricName("blur", "px", 2, None),
    "noise_levels": MetricName("noise", "levels", 2, None),
}


def name_metric(key: str) -> MetricName:
    """The metric behind a key: PSNR, SSIM and MS-SSIM are better higher, distances such as LPIPS and DISTS lower."""
    if key in _SPECIAL:
        return _SPECIAL[key]
    for family, unit, digits in (("ms_ssim", "", 4), ("ssim", "", 4), ("psnr", "dB", 2)):
        variant = key.removeprefix(f"{family}_").removesuffix("_db")
        if variant in _CHANNELS:
            return MetricName(f"{family.upper().replace('_', '-')}-{_CHANNELS[variant]}", unit, digits, "higher")
    family, _, variant = key.partition("_")
    return MetricName(f"{family.upper()} ({variant})" if variant else family.upper(), "", 4, "lower")


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
