"""Options of ``adaptsr truncate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from adaptsr_cli.errors import UsageError
from adaptsr_cli.options import Flag, OptionsModel
from adaptsr_cli.stages.common import fields
from adaptsr_cli.units import parse_budget


class TruncateOptions(OptionsModel):
    """Which adapter to make smaller, and by how much: exactly one of `to_rank` and `budget`."""

    run: fields.Run = fields.DEFAULT_RUN
    adapter: Annotated[Path | None, Field(description="Adapter file. Left out: the run's."), Flag(one_of_many=True)] = (
        None
    )
    to_rank: Annotated[int | None, Field(ge=1, description="Largest rank that a site keeps.")] = None
    budget: Annotated[
        str | None, Field(description="Parameters that all sites may cost together, such as 10k or 2%.")
    ] = None
    output: Annotated[
        Path | None,
        Field(description="Smaller adapter file. Left out: adapter-truncated.safetensors in the run folder."),
        Flag(("--output", "-o")),
    ] = None
    model: fields.Model = None
    model_options: fields.ModelChoices = ()
    weights_dir: fields.WeightsDir = None
    offline: fields.Offline = False
    force: fields.Force = False

    @model_validator(mode="after")
    def _check_limit(self) -> Self:
        if (self.to_rank is None) == (self.budget is None):
            which = "neither" if self.budget is None else "both"
            raise UsageError(f"{which} of `to_rank` and `budget` given", "give one of them, such as a rank of 2")
        if self.budget is not None:
            parse_budget(self.budget)
        return self
