"""Options of ``adaptsr adapt`` and ``adaptsr demo``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from adaptsr_cli.options import Flag, NotOnCommandLine, OptionsModel
from adaptsr_cli.stages.allocate.options import DEFAULT_BUDGET, Budget
from adaptsr_cli.stages.common import fields as f
from adaptsr_cli.stages.score.options import DEFAULT_BATCHES
from adaptsr_cli.stages.train.options import TrainOptions

DEFAULT_METRICS = "psnr,ssim,lpips_squeeze"


class AdaptOptions(TrainOptions):
    """The options of training, and what the stages before and after it need."""

    budget: Budget = DEFAULT_BUDGET
    metrics: f.Metrics = DEFAULT_METRICS
    strict: f.Strict = False
    folds: Annotated[
        int | None,
        Field(
            ge=3,
            description="Cross-validate: train so many times on parts of the images, score each training on a part it "
            "has not seen, then train the final model on all.",
        ),
    ] = None
    score_batches: Annotated[
        int, Field(ge=1, description="Batches that the saliency is averaged over."), NotOnCommandLine()
    ] = DEFAULT_BATCHES
    rank_map: Annotated[Path | None, Field(description="Rank map. Left out: the run's."), NotOnCommandLine()] = None

    @classmethod
    def layer(cls, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        """What `above` says, and elsewhere what `below` says; a budget takes the place of a rank map."""
        dropped = {"rank_map"} if "budget" in above else set()
        return super().layer({name: value for name, value in below.items() if name not in dropped}, above)


class DemoOptions(OptionsModel):
    """The whole job on photographs that ship with scikit-image and a simulated camera."""

    run: Annotated[
        Path | None,
        f.FOLDER,
        Field(description="Folder for everything. Left out: a new adaptsr-demo."),
        Flag(("--run",)),
    ] = None
    iterations: Annotated[
        int | None, Field(ge=1, description="Optimiser steps."), Flag(default_text="the preset's")
    ] = None
    weights_dir: f.WeightsDir = None
    device: f.Device = "auto"
    seed: f.Seed = 0
    metrics: Annotated[f.Metrics, NotOnCommandLine()] = DEFAULT_METRICS
    force: f.Force = False
