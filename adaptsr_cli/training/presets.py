"""Presets of ``train``: defaults of the options that the user left out."""

from __future__ import annotations

from typing import Final

from adaptsr_cli.artifacts.base import StrictModel
from adaptsr_cli.artifacts.train_config import OptimizerName, PresetName, ScheduleName


class Preset(StrictModel):
    """Defaults of the options that the user left out."""

    iterations: int
    batch: int
    patch_px: int
    recolour: float
    learning_rate: float
    optimizer: OptimizerName
    schedule: ScheduleName
    alpha: float


TRAIN_PRESETS: Final[dict[PresetName, Preset]] = {
    # Chosen by measurement on real pairs: docs/results/presets.md.
    "fast": Preset(
        iterations=300,
        batch=8,
        patch_px=128,
        recolour=1 / 8,
        learning_rate=2e-3,
        optimizer="muon",
        schedule="constant",
        alpha=8.0,
    ),
    # AdaptSR, Section 4.1.
    "paper": Preset(
        iterations=100_000,
        batch=8,
        patch_px=256,
        recolour=0.0,
        learning_rate=1e-3,
        optimizer="adam",
        schedule="steps",
        alpha=1.0,
    ),
}
