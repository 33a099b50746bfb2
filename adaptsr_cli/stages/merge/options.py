"""Options of ``adaptsr merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from adaptsr_cli.errors import UsageError
from adaptsr_cli.options import Flag, OptionsModel
from adaptsr_cli.stages.common import fields


def _read_weights(value: Any) -> Any:
    """Read ``0.5,0.5``; a list becomes a tuple."""
    if not isinstance(value, str):
        return tuple(value) if isinstance(value, list) else value
    try:
        return tuple(float(word) for word in value.split(","))
    except ValueError as error:
        raise UsageError(f"`weights` {value!r} is not a list of numbers", "for example 0.5,0.5") from error


class MergeOptions(OptionsModel):
    """Which adapters to merge into which backbone, and where the merged file goes."""

    run: fields.Run = fields.DEFAULT_RUN
    adapters: Annotated[
        fields.Adapters, Field(description="Adapter file. Repeatable; several are averaged. Left out: the run's.")
    ] = ()
    output: Annotated[
        Path | None,
        Field(description="Merged file. Left out: merged.safetensors or merged.pth in the run folder."),
        Flag(("--output", "-o")),
    ] = None
    format: Annotated[
        fields.FileFormat | None,
        Field(description="safetensors, or pth with {'params': ...}; `adaptsr export` writes others."),
        Flag(default_text="as --output ends, else safetensors"),
    ] = None
    weights: Annotated[
        tuple[float, ...] | None,
        BeforeValidator(_read_weights),
        Field(description="Share of each adapter's update, such as 0.5,0.5."),
        Flag(default_text="the average", metavar="NUMBERS", as_text=True),
    ] = None
    strength: Annotated[
        float | None,
        Field(
            ge=0, le=2, description="Scales the updates: 0 is the backbone, 1 the adapter as trained, above 1 stronger."
        ),
        Flag(default_text="what the guard of the training chose, else 1"),
    ] = None
    sharpness: fields.Sharpness = None
    tune: Annotated[
        Path | None,
        Field(description="Choose weights and strength by PSNR-Y on the images of this folder that were held out."),
    ] = None
    device: fields.Device = "auto"
    model: fields.Model = None
    model_options: fields.ModelChoices = ()
    weights_dir: fields.WeightsDir = None
    offline: fields.Offline = False
    force: fields.Force = False

    @model_validator(mode="after")
    def _check_blend(self) -> Self:
        count = max(1, len(self.adapters))
        if self.weights is not None and len(self.weights) != count:
            raise UsageError(
                f"`weights` has {len(self.weights)} numbers for {count} `adapters`", "give one weight for each adapter"
            )
        if self.tune is not None and (self.weights is not None or self.strength is not None):
            raise UsageError("`tune` chooses weights and strength", "leave `weights` and `strength` out, or `tune`")
        if self.sharpness is not None and (self.tune is not None or self.weights is not None or count > 1):
            other = "tune" if self.tune is not None else "weights" if self.weights is not None else "adapters"
            raise UsageError(
                f"`sharpness` together with `{other}`", "it adds the run's perceptual adapter to the run's own, alone"
            )
        return self
