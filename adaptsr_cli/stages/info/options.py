"""Options of ``adaptsr info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from adaptsr_cli.options import Argument, OptionsModel
from adaptsr_cli.stages.common import fields


class InfoOptions(OptionsModel):
    """Which files to describe."""

    files: Annotated[
        tuple[Path, ...],
        BeforeValidator(fields.as_many),
        Field(min_length=1, description="Images, run folders, artifacts of a run, or checkpoints."),
        Argument("FILE"),
    ]
    model_options: fields.ModelChoices = ()
