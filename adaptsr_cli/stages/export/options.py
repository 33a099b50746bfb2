"""Options of ``adaptsr export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from adaptsr_cli.options import Flag, OptionsModel
from adaptsr_cli.stages.common import fields

FormatName = Literal["onnx"]


class ExportOptions(OptionsModel):
    """Which adapted network to write, and in which format."""

    to: Annotated[FormatName, Field(description="Format of the file. onnx: for any height and width.")]
    run: fields.Run = fields.DEFAULT_RUN
    adapter: Annotated[
        Path | None,
        Field(
            description="Adapter file to fold into the backbone. Left out: the run's merged model is exported, or the "
            "run's adapter where it is not merged."
        ),
    ] = None
    output: Annotated[
        Path | None,
        Field(description="File to write. Left out: merged.onnx in the run folder."),
        Flag(("--output", "-o")),
    ] = None
    model: Annotated[
        fields.Model, Field(description="Merged model to export as it is, or the backbone of the adapter.")
    ] = None
    weights_dir: fields.WeightsDir = None
    offline: fields.Offline = False
    force: fields.Force = False
