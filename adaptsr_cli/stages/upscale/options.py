"""Options of ``adaptsr upscale``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from adaptsr_cli.artifacts.base import EngineChoice, RawWhiteBalance
from adaptsr_cli.options import Argument, Flag, OptionsModel
from adaptsr_cli.stages.common import fields


class UpscaleOptions(OptionsModel):
    """Which images to upscale, by which model, and where the results go."""

    inputs: Annotated[
        tuple[Path, ...],
        BeforeValidator(fields.as_many),
        Field(description="Images or folders."),
        Argument("IMAGES"),
    ] = ()
    output: Annotated[
        Path | None,
        Field(description="File (for one image) or folder. Left out: beside the input."),
        Flag(("--output", "-o")),
    ] = None
    run: fields.Run = fields.DEFAULT_RUN
    model: Annotated[
        fields.Model,
        Field(
            description="Checkpoint file or catalogue name. Left out: the run's merged model, else its backbone, else "
            "the embedded SAFMN x4."
        ),
    ] = None
    model_options: fields.ModelChoices = ()
    outscale: Annotated[float | None, Field(ge=0.1, le=32, description="Final factor."), Flag(("--outscale", "-s"))] = (
        None
    )
    tile: fields.Tile = None
    tile_pad: Annotated[
        int | None, Field(ge=0, description="LR px of context around a tile. Left out: what the network needs.")
    ] = None
    suffix: Annotated[
        str | None,
        Field(description="Appended to the name; may be empty. Left out: _x4."),
        Flag(may_be_empty=True),
    ] = None
    ext: Annotated[
        str,
        Field(description="Type of the results: auto (as the input), png, jpg, webp, tif, avif, heic, jxl or bmp."),
    ] = "auto"
    quality: Annotated[int, Field(ge=1, le=100, description="Of JPEG, WebP, AVIF, HEIC and JPEG XL.")] = 95
    dpi: Annotated[
        Literal["keep", "scaled"],
        Field(description="Resolution in dpi: as it is, or multiplied by the factor: the same size on paper."),
    ] = "keep"
    strip: Annotated[
        bool,
        Field(description="Leave out EXIF, XMP, IPTC, texts, resolution, georeference and what says how it was made."),
        Flag(("--strip",)),
    ] = False
    damaged: Annotated[
        Literal["refuse", "keep"],
        Field(description="What to do with a file of which the data are damaged: keep upscales what can be decoded."),
    ] = "refuse"
    raw_white_balance: Annotated[
        RawWhiteBalance, Field(description="Of raw files: the camera's, that of daylight, or measured in each picture.")
    ] = "camera"
    raw_exposure: Annotated[float, Field(ge=-2, le=3, description="Of raw files: brighter by so many stops (EV).")] = (
        0.0
    )
    recursive: Annotated[bool, Field(description="Go into sub-folders."), Flag(("--recursive", "-r"))] = False
    list_file: Annotated[
        str | None,
        Field(description="Text file of paths, one a line; - for the standard input."),
        Flag(("--list",)),
    ] = None
    watch: Annotated[
        bool,
        Field(description="Keep running, and upscale new images in the folders; needs --output."),
        Flag(("--watch",)),
    ] = False
    adapters: Annotated[
        fields.Adapters, Field(description="Adapter to add to the backbone, in memory. Repeatable; they add up.")
    ] = ()
    strength: Annotated[
        float | None,
        Field(ge=0, le=1, description="From 0, the backbone, to 1, the adapted model."),
        Flag(default_text="1; with --sharpness what the guard of the training chose"),
    ] = None
    sharpness: Annotated[
        fields.Sharpness,
        Field(
            description="How much of the run's perceptual adapter is added (`--objective both`): 0 is the faithful "
            "model, 1 all of it; auto goes by the run's held-out images and by these photographs, auto:FOLDER by those "
            "there instead."
        ),
    ] = None
    ensemble: Annotated[
        bool,
        Field(description="Average over 8 rotated and mirrored copies: 8 times the work."),
        Flag(("--ensemble",)),
    ] = False
    engine: Annotated[
        EngineChoice,
        Field(
            description="What runs the network on the CPU. auto: torch, or openvino where that is installed and "
            "done sooner."
        ),
    ] = "auto"
    compile: Annotated[
        Literal["off", "auto"],
        Field(description="auto: try the network compiled where there is enough work, and keep what is faster."),
    ] = "off"
    fp32: Annotated[bool, Field(description="The same as --precision fp32."), Flag(("--fp32",))] = False
    weights_dir: fields.WeightsDir = None
    offline: fields.Offline = False
    device: fields.Device = "auto"
    precision: fields.PrecisionChoice = "auto"
    force: fields.Force = False
