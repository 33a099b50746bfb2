"""Options of ``adaptsr train``, and the configuration that they resolve to.

To add an option, add a field to `TrainOptions`; if it decides what the trained adapter is, add one of the same name to
`TrainConfig`, which then takes it over by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from adaptsr_cli.artifacts.base import Factorization, LoraInit, LoraScaling, Method, MethodChoice, ShiraMask, Strategy
from adaptsr_cli.artifacts.train_config import ObjectiveChoice, OptimizerName, PresetName, ScheduleName, TrainConfig
from adaptsr_cli.options import Flag
from adaptsr_cli.ranking.allocation import DEFAULT_STRATEGY
from adaptsr_cli.stages.common import fields as f
from adaptsr_cli.stages.common.data_options import DataOptions
from adaptsr_cli.training.presets import TRAIN_PRESETS

if TYPE_CHECKING:
    from adaptsr_cli.data.sources import DataSpec

_PRESET = Flag(default_text="the preset's")


def _read_rate(value: Any) -> Any:
    """Read ``auto``; numbers are checked by the field."""
    if value == f.AUTO:
        return None
    try:
        return value if value is None else float(value)
    except (TypeError, ValueError):
        raise ValueError("auto, or a number above 0 and at most 1, such as 5e-4") from None


class TrainOptions(DataOptions):
    """What to train, on what, and how; None means the preset's value or one that follows from the data."""

    rank_map: Annotated[Path | None, Field(description="Rank map. Left out: the run's.")] = None
    preset: Annotated[PresetName, Field(description="fast takes minutes, paper 100,000 iterations.")] = "fast"
    method: Annotated[
        MethodChoice,
        Field(description="What is trained at the planned sites; auto goes by the size of the network."),
    ] = "auto"
    objective: Annotated[
        ObjectiveChoice,
        Field(
            description="fidelity is L1 and a loss against the upsampler's grid; l1 is the paper's; perceptual is the "
            "paper's AdaptSR-GAN; both trains a perceptual adapter on top of the faithful one, to be mixed in by the "
            "sharpness of merge, export and upscale."
        ),
    ] = "fidelity"
    iterations: Annotated[int | None, Field(ge=1, description="Optimiser steps."), _PRESET] = None
    minutes: Annotated[
        float | None,
        Field(
            gt=0, description="Time for the training, its search and its validations, which are planned to fit into it."
        ),
    ] = None
    batch: Annotated[f.Batch, _PRESET] = None
    accumulate: Annotated[int, Field(ge=1, description="Compute each batch in so many parts, to save memory.")] = 1
    patch: Annotated[f.Patch, Flag(default_text="the preset's, or what the images allow")] = None
    recolour: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="Share of the crops that are mixed with a random colour, so that colours which no image shows "
            "do not break.",
        ),
        _PRESET,
    ] = None
    learning_rate: Annotated[
        Annotated[float, Field(gt=0, le=1)] | None,
        BeforeValidator(_read_rate),
        Field(description="Peak learning rate; auto searches for it by short trainings."),
        Flag(("--lr",), default_text="auto; with --preset paper, the paper's", metavar="RATE", as_text=True),
    ] = None
    optimizer: Annotated[
        OptimizerName | None,
        Field(description="muon makes the step of every matrix orthogonal; adam is the paper's."),
        Flag(default_text="the preset's; adam for a perceptual objective"),
    ] = None
    schedule: Annotated[
        ScheduleName | None,
        Field(
            description="constant keeps the mean of all steps, the late ones weighing most; cosine falls to a "
            "hundredth of the peak; steps is the paper's."
        ),
        Flag(default_text="the preset's; cosine for a perceptual objective"),
    ] = None
    alpha: Annotated[float | None, Field(gt=0, description="Numerator of LoRA's scaling."), _PRESET] = None
    lora_scaling: Annotated[
        LoraScaling,
        Field(description="LoRA's scaling; alpha/sqrt(r) keeps large ranks from learning slower (rsLoRA)."),
    ] = "alpha/r"
    init: Annotated[
        LoraInit | None,
        Field(description="Where low-rank factors start; adapter continues the adapter of `adaptsr reallocate`."),
        Flag(default_text="adapter where the rank map has one, gradient where `adaptsr score` left its directions"),
    ] = None
    conv_factorization: Annotated[Factorization, Field(description="Low-rank updates of convolutions.")] = "1x1-kxk"
    shira_mask: Annotated[
        ShiraMask | None,
        Field(description="Which weights the method shira trains; movement shares the budget over all planned sites."),
        Flag(default_text="movement"),
    ] = None
    lora_plus: Annotated[
        float, Field(ge=1, description="The B factors learn at so many times the learning rate (LoRA+).")
    ] = 1.0
    ema: Annotated[
        float | None,
        Field(gt=0, lt=1, description="Keep a moving average of this decay, whatever the schedule: 0.999."),
    ] = None
    patience: Annotated[int | None, Field(ge=1, description="Stop after so many validations without improvement.")] = (
        None
    )
    val_freq: Annotated[
        int | None,
        Field(ge=1, description="Iterations between validations."),
        Flag(default_text="a tenth of the iterations"),
    ] = None
    save_freq: Annotated[
        int | None,
        Field(ge=1, description="Iterations between saved states."),
        Flag(default_text="a tenth of the iterations"),
    ] = None
    from_peft: Annotated[
        Path | None, Field(description="Folder of a LoRA adapter that peft trained on this backbone, to go on from.")
    ] = None
    tensorboard: Annotated[bool, Field(description="Write training/tensorboard/ too."), Flag(("--tensorboard",))] = (
        False
    )
    checkpointing: Annotated[
        bool | None,
        Field(description="Compute every block twice to save memory."),
        Flag(("--checkpointing/--no-checkpointing",), default_text="where a step would not fit"),
    ] = None

    @property
    def seeks_rate(self) -> bool:
        """Whether the learning rate is to be searched for; the paper's preset has its own unless that is asked for."""
        said = "learning_rate" in self.model_fields_set
        return self.learning_rate is None and (said or self.preset != "paper")

    @property
    def seeks_psnr(self) -> bool:
        """Whether a higher held-out PSNR is what is trained for first; a perceptual adapter gives it up on purpose."""
        return self.objective != "perceptual"

    @property
    def open_of_each_part(self) -> frozenset[str]:
        """Names of options that are left open, and that the two trainings of `objective` both find each for itself."""
        each = ("method", "learning_rate", "optimizer", "schedule", "init", "shira_mask")
        return frozenset(name for name in each if getattr(self, name) in (None, f.AUTO))

    @property
    def low_rank_options(self) -> tuple[str, ...]:
        """Names of the given options that only low-rank updates obey, without those of the usual value.

        These may be given with any method, since the configuration of a run holds them.
        """
        usual = {
            "alpha": TRAIN_PRESETS[self.preset].alpha,
            "lora_scaling": "alpha/r",
            "lora_plus": 1.0,
            "init": "default",
            "conv_factorization": "1x1-kxk",
        }
        given = self.given()
        return tuple(name for name, value in usual.items() if given.get(name, value) != value)

    @property
    def named_method(self) -> Method:
        """The method that is named; where none is, the one whose options may be given."""
        return "lora" if self.method == "auto" else self.method

    @property
    def strategy(self) -> Strategy:
        """How ranks are chosen where there is no rank map; the paper's preset goes by the paper's Algorithm 1."""
        return "greedy" if self.preset == "paper" else DEFAULT_STRATEGY


def plan_iterations(options: TrainOptions) -> int:
    """Optimiser steps of the training."""
    return options.iterations or TRAIN_PRESETS[options.preset].iterations


def continued_precision(options: TrainOptions, begun: TrainConfig) -> f.PrecisionChoice:
    """That of a training that goes on, which another machine may have begun, unless one is named."""
    return begun.precision if options.precision == "auto" else options.precision


def usual_rate(preset: PresetName, method: Method) -> float:
    """The learning rate of a method by the preset."""
    from adaptsr_cli.adapters.methods import METHODS  # with torch, which the options alone do without

    return TRAIN_PRESETS[preset].learning_rate * METHODS[method].learning_rate_factor


def resolve_config(options: TrainOptions, *, patch_px: int, precision: str) -> TrainConfig:
    """The preset with the options put over it.

    Args:
        options: What the user asked for.
        patch_px: Side of the HR patch that the images allow.
        precision: One that the device and the network can compute in.
    """
    from adaptsr_cli.adapters.methods import METHODS  # as above

    assert options.method != "auto"
    given = {name: value for name in TrainConfig.model_fields if (value := getattr(options, name, None)) is not None}
    iterations = plan_iterations(options)
    often = min(1000, max(10, iterations // 10))
    own: dict[str, Any] = {
        "learning_rate": usual_rate(options.preset, options.method),
        "shira_mask": METHODS[options.method].masks[0],
    }
    preset = TRAIN_PRESETS[options.preset]
    if options.objective == "perceptual":
        own["optimizer"] = "adam"  # by which it was measured, as by the cosine: the discriminator changes on the way
        own["schedule"] = "cosine" if preset.schedule == "constant" else preset.schedule
    values: dict[str, Any] = preset.model_dump() | own | {"val_freq": often, "save_freq": often}
    return TrainConfig(**(values | given | {"patch_px": patch_px, "precision": precision}))


def resolved_options(
    images: DataSpec,
    config: TrainConfig,
    paths: Mapping[str, Path | None],
    left_open: Set[str] = frozenset(),
    **more: Any,
) -> TrainOptions:
    """Everything that a run was made with, with nothing left to defaults; paths absolute.

    Args:
        images: What it is trained on.
        config: The resolved options.
        paths: Files and folders by field name; None for those that were not given.
        left_open: Names of options that are found again.
        more: Further fields.
    """
    named = {"hr_dir": images.hr, "lr_dir": images.lr, "list_file": images.list_file, **paths}
    absolute = {name: path.resolve() for name, path in named.items() if path is not None}
    folders = tuple(
        f"{folder.path.resolve()}" + ("" if folder.weight is None else f":{folder.weight:g}")
        for folder in images.folders
    )
    values = config.model_dump(exclude={"patch_px", *left_open}, exclude_none=True)
    if config.degrade is not None and config.degrade.endswith(".json"):
        values["degrade"] = str(Path(config.degrade).resolve())
    values |= {"data": folders} if folders else {}
    return TrainOptions(**(values | {"patch": config.patch_px, "align": images.align} | absolute | more))
