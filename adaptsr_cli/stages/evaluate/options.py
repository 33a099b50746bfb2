"""Options of ``adaptsr eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from adaptsr_cli.data.sources import DataSpec, choose_data
from adaptsr_cli.errors import UsageError
from adaptsr_cli.options import Flag, NotOnCommandLine, OptionsModel
from adaptsr_cli.stages.common import fields
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.units import readable

ProtocolName = Literal["paper", "rgb", "basicsr", "stablesr", "whole", "no-reference"]
SplitChoice = Literal["held-out", "test", "all"]


class EvaluateOptions(OptionsModel):
    """Which models to score, on which images, and how."""

    data: fields.Data = ()
    lr_dir: fields.LrDir = None
    hr_dir: fields.HrDir = None
    list_file: fields.ListFile = None
    align: fields.AlignOption = "none"
    run: fields.Run = fields.DEFAULT_RUN
    models: Annotated[
        tuple[str, ...],
        BeforeValidator(fields.as_many),
        Field(description="Checkpoint or catalogue name. Repeatable. Left out: backbone and merged model of the run."),
        Flag(("--model", "-n")),
    ] = ()
    model_options: fields.ModelChoices = ()
    adapters: Annotated[
        fields.Adapters, Field(description="Adapter file, scored on the backbone that it was made for. Repeatable.")
    ] = ()
    sr: Annotated[
        tuple[str, ...],
        BeforeValidator(fields.as_many),
        Field(
            description="NAME=FOLDER of images that another system made of the same LR images, scored beside the run's "
            "models. Repeatable."
        ),
        Flag(metavar="NAME=FOLDER"),
    ] = ()
    metrics: Annotated[
        str | None,
        fields.WITH_COMMAS,
        Field(description=fields.METRICS_HELP),
        Flag(default_text="psnr,ssim,lpips_squeeze; without a reference niqe,sharpness,noise"),
    ] = None
    protocol: Annotated[
        ProtocolName,
        Field(description="How images are prepared; stablesr: LR centre crop of 128 px; no-reference: --data is LR."),
    ] = "paper"
    split: Annotated[
        SplitChoice | None,
        Field(
            description="test: images that the run has never seen; held-out: also those that chose the iteration; all: "
            "also those that it was trained on."
        ),
        Flag(default_text="test where the run has a test part, else held-out"),
    ] = None
    replaces_first: Annotated[bool, Field(description="Write eval.json whatever it holds."), NotOnCommandLine()] = False
    strict: fields.Strict = False
    report: Annotated[bool, Field(description="Write the report."), NotOnCommandLine()] = True
    csv: Annotated[Path | None, Field(description="Write the table there, with spread and p-values.")] = None
    markdown: Annotated[Path | None, Field(description="Write the table there, for a README.")] = None
    latex: Annotated[Path | None, Field(description="Write the table there, for a paper.")] = None
    degrade: Annotated[
        fields.Degrade,
        Field(
            description="How LR is made from photos without pairs: realesrgan, phone, demo, bicubic, or a "
            "degradation.json. Left out: the run's, else bicubic."
        ),
    ] = None
    tile: fields.Tile = None
    weights_dir: fields.WeightsDir = None
    offline: fields.Offline = False
    device: fields.Device = "auto"
    precision: fields.PrecisionChoice = "auto"
    seed: fields.Seed = 0
    force: fields.Force = False

    @property
    def images(self) -> DataSpec:
        """The images to score on.

        Raises:
            UsageError: None are named, or they are named in two ways at once.
        """
        return choose_data(self.data, self.hr_dir, self.lr_dir, self.list_file, self.align, self.run)

    @property
    def output_folders(self) -> tuple[tuple[str, Path], ...]:
        """Name and folder of the images that other systems made.

        Raises:
            UsageError: One of `sr` is not NAME=FOLDER.
        """
        return tuple(_parse_output_folder(text) for text in self.sr)

    @property
    def scores_models_of_run(self) -> bool:
        """Whether the run's own backbone and merged model are scored, no other ones being named."""
        return not (self.models or self.adapters or self.sr)

    @property
    def scores_run(self) -> bool:
        """Whether the run's own backbone and merged model are scored, alone or beside folders of other systems."""
        return not (self.models or self.adapters or self.scores_folders_only)

    @property
    def scores_folders_only(self) -> bool:
        """Whether no network is scored: folders are named, no network is, and there is no run to take one from."""
        return bool(self.sr) and not (self.models or self.adapters or RunFolder(self.run).record.exists())

    @model_validator(mode="after")
    def _check_images(self) -> Self:
        _ = self.images, self.output_folders  # both raise where they are wrong
        return self


def _parse_output_folder(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not (name and separator and folder):
        raise UsageError(f"`sr` {text!r} is not NAME=FOLDER", "for example RealESRGAN=results/")
    return readable(name), Path(folder)
