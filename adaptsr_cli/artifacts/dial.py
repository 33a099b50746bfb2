"""``perceptual/training/dial.json``: what the sharpness of a run does on its held-out images."""

from __future__ import annotations

from typing import Literal

from adaptsr_cli.artifacts.base import FORMAT_VERSION, StrictModel
from adaptsr_cli.artifacts.evaluation import DialCurve


class DialRecord(StrictModel):
    """The dial as validation sees it, by which ``--sharpness auto`` goes.

    Attributes:
        adapter_sha256: Of the perceptual adapter's file.
        curve: PSNR-Y on the held-out crops; after ``adapt --folds`` of the adapters of the folds.
    """

    artifact: Literal["dial"] = "dial"
    format_version: Literal[1] = FORMAT_VERSION
    adapter_sha256: str
    curve: DialCurve
