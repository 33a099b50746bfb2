"""The vocabulary of metrics: their names, their keys in ``eval.json``, and how these are written for people.

How a metric is computed says `adaptsr_cli.metrics.measures`; what is here needs neither torch nor weights, so that the
command line and reports can use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class MetricName:
    """A metric in words.

    Attributes:
        label: ``PSNR-Y``, ``LPIPS (squeeze)``.
        unit: Behind its values; empty where it has none.
        digits: After the point.
        better: Which values are better; None where neither is better by itself.
    """

    label: str
    unit: str = ""
    digits: int = 4
    better: Literal["higher", "lower"] | None = "lower"

    @property
    def arrow(self) -> str:
        """``↑`` where higher is better, ``↓`` where lower is; empty where neither."""
        return {"higher": "↑", "lower": "↓", None: ""}[self.better]


@dataclass(frozen=True)
class MetricSpec:
    """The record of one metric.

    Attributes:
        name: As in ``--metrics``.
        keys: Its keys in ``eval.json``, each with its words; several where it is computed on Y and on RGB.
        needs_reference: It compares an output with the true image; else it measures the output alone.
    """

    name: str
    keys: Mapping[str, MetricName]
    needs_reference: bool = True


METRICS: Final[dict[str, MetricSpec]] = {
    spec.name: spec
    for spec in (
        MetricSpec(
            "psnr",
            {
                "psnr_y_db": MetricName("PSNR-Y", "dB", 2, "higher"),
                "psnr_rgb_db": MetricName("PSNR-RGB", "dB", 2, "higher"),
            },
        ),
        MetricSpec(
            "ssim",
            {
                "ssim_y": MetricName("SSIM-Y", better="higher"),
                "ssim_rgb": MetricName("SSIM-RGB", better="higher"),
            },
        ),
        MetricSpec(
            "ms_ssim",
            {
                "ms_ssim_y": MetricName("MS-SSIM-Y", better="higher"),
                "ms_ssim_rgb": MetricName("MS-SSIM-RGB", better="higher"),
            },
        ),
        MetricSpec(
            "delta_e",
            {
                "delta_e_2000": MetricName("ΔE2000", digits=2),
                "delta_e_2000_local": MetricName("ΔE2000 (8 px means)", digits=2),
                "delta_e_2000_chroma": MetricName("ΔE2000 (chroma)", digits=2),
            },
        ),
        MetricSpec("lpips_squeeze", {"lpips_squeeze": MetricName("LPIPS (squeeze)")}),
        MetricSpec("lpips_alex", {"lpips_alex": MetricName("LPIPS (alex)")}),
        MetricSpec("lpips_vgg", {"lpips_vgg": MetricName("LPIPS (vgg)")}),
        MetricSpec("dists", {"dists": MetricName("DISTS")}),
        # By the original statistics where their file is there, else by our own: two metrics, never to be compared.
        MetricSpec(
            "niqe",
            {"niqe_own": MetricName("NIQE (own)"), "niqe": MetricName("NIQE")},
            needs_reference=False,
        ),
        # Sharper is not better where the detail is false, and less noise is not where detail went with it.
        MetricSpec("sharpness", {"blur_px": MetricName("blur", "px", digits=2, better=None)}, needs_reference=False),
        MetricSpec(
            "noise", {"noise_levels": MetricName("noise", "levels", digits=2, better=None)}, needs_reference=False
        ),
    )
}
"""Every metric by its name; those that need no reference come last."""


def find_metric_name(key: str) -> MetricName | None:
    """Find the words of a key of ``eval.json``; None where no metric has it."""
    return next((spec.keys[key] for spec in METRICS.values() if key in spec.keys), None)
