"""Options of ``adaptsr export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from adaptsr_cli.options import Flag, OptionsModel
from adaptsr_cli.stages.common import fields

FormatName = Literal["onnx", "ncnn", "openvino", "peft", "safetensors", "pth"]
PlayerName = Literal["upscayl"]


class ExportOptions(OptionsModel):
    """Which adapted network to write, and in which format."""

    to: Annotated[
        FormatName | None,
        Field(
            description="Format of the file. onnx: for any height and width. ncnn: convolutional networks, for phones "
            "and players. openvino: for CPUs. peft: the adapter alone, in peft's own format. safetensors, pth: as merge"
            " writes them."
        ),
        Flag(default_text="as --output ends; for upscayl ncnn"),
    ] = None
    run: fields.Run = fields.DEFAULT_RUN
    adapter: Annotated[
        Path | None,
        Field(
            description="Adapter file to fold into the backbone. Left out: the run's merged model is exported, or the "
            "run's adapter where it is not merged."
        ),
        Flag(one_of_many=True),
    ] = None
    sharpness: fields.Sharpness = None
    output: Annotated[
        Path | None,
        Field(description="File to write, for peft a folder. Left out: in the run folder."),
        Flag(("--output", "-o")),
    ] = None
    player: Annotated[
        PlayerName | None,
        Field(description="Write what this program takes as it is. upscayl: its folder of models (ncnn)."),
        Flag(("--for",)),
    ] = None
    name: Annotated[str | None, Field(description="Name of the model in that program. Left out: the run folder's.")] = (
        None
    )
    half: Annotated[
        bool | None,
        Field(description="Weights in half precision."),
        Flag(("--half/--no-half",), default_text="for ncnn and openvino"),
    ] = None
    tile: Annotated[
        int | None,
        Field(
            ge=1,
            description="ONNX for LR images of this width and height only, as TensorRT and video players want it. "
            "Left out: any size.",
        ),
    ] = None
    card: Annotated[
        bool, Field(description="Write a model card beside it: what it was made from, scores, how to use it.")
    ] = False
    licence: Annotated[
        str | None, Field(description="Licence of the backbone's weights, for the card and the file's metadata.")
    ] = None
    model: Annotated[
        fields.Model, Field(description="Merged model to export as it is, or the backbone of the adapter.")
    ] = None
    model_options: fields.ModelChoices = ()
    weights_dir: fields.WeightsDir = None
    offline: fields.Offline = False
    force: fields.Force = False
