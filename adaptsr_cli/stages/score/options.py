"""Options of ``adaptsr score``."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from adaptsr_cli.artifacts.base import Criterion
from adaptsr_cli.options import Flag
from adaptsr_cli.stages.common import fields as f
from adaptsr_cli.stages.common.data_options import DataOptions

DEFAULT_BATCHES: Final = 8


class ScoreOptions(DataOptions):
    """What to score, and by what."""

    criterion: Annotated[
        Criterion, Field(description="Which criterion is the score that later stages go by; all are measured.")
    ] = "gradient"
    batches: Annotated[int, Field(ge=1, description="Batches that the score is averaged over.")] = DEFAULT_BATCHES
    batch: Annotated[int, Field(ge=1, description="Patches a batch.")] = 8
    patch: Annotated[f.Patch, Flag(default_text="128, or what the images allow")] = None
