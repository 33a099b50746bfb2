"""What the trainings of a cross-validation found and the final one cannot, since it is trained on what it watches."""

from __future__ import annotations

from dataclasses import dataclass

from adaptsr_cli.artifacts.evaluation import DialCurve
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.stages.train.options import TrainOptions


@dataclass(frozen=True)
class FoldFindings:
    """What they found, for the final training.

    Attributes:
        perceptual: What to train on top with `objective` both.
        guards: Of the folds that have one.
        dials: Of the folds that have a perceptual adapter.
    """

    perceptual: TrainOptions
    guards: tuple[GuardRecord, ...]
    dials: tuple[DialCurve, ...]
