"""The options of ``train`` as the user gives them: on the command line, in a TOML file, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field

from adaptsr_cli.artifacts.base import Factorization, LoraInit, LoraScaling, Method, ShiraMask, StrictModel
from adaptsr_cli.artifacts.train_config import ObjectiveName, PresetName, ScheduleName, TrainConfig
from adaptsr_cli.data.sources import Align, DataSpec, choose_data

# Ways to name the images, of which only one can be meant.
_IMAGES: Final = ("data", "hr_folder", "lr_folder", "list")


PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16"]


class TrainRequest(StrictModel):
    """What is asked for; None is what nobody said.

    The keys are those of ``training/config.toml`` and of ``--config``: the long options with ``_`` for ``-``, and
    ``hr_folder``, ``lr_folder`` for the two sides, since ``lr`` is the learning rate.

    Attributes:
        data: Folders, each perhaps with a weight: ``photos:0.3``.
        model: Checkpoint file or catalogue name.
        patch: Side of the HR patch in pixels.
    """

    data: tuple[str, ...] | None = None
    hr_folder: str | None = None
    lr_folder: str | None = None
    list: str | None = None
    align: Align | None = None
    val: str | None = None
    model: str | None = None
    rank_map: str | None = None
    preset: PresetName | None = None
    method: Method | None = None
    objective: ObjectiveName | None = None
    iterations: Annotated[int, Field(ge=1)] | None = None
    minutes: Annotated[float, Field(gt=0)] | None = None
    batch: Annotated[int, Field(ge=1)] | None = None
    accumulate: Annotated[int, Field(ge=1)] | None = None
    patch: Annotated[int, Field(ge=8)] | None = None
    lr: Annotated[float, Field(gt=0, le=1)] | None = None
    schedule: ScheduleName | None = None
    alpha: Annotated[float, Field(gt=0)] | None = None
    scale: LoraScaling | None = None
    init: LoraInit | None = None
    conv_factorization: Factorization | None = None
    shira_mask: ShiraMask | None = None
    lora_plus: Annotated[float, Field(ge=1)] | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    patience: Annotated[int, Field(ge=1)] | None = None
    degrade: str | None = None
    val_freq: Annotated[int, Field(ge=1)] | None = None
    save_freq: Annotated[int, Field(ge=1)] | None = None
    precision: PrecisionChoice | None = None
    seed: Annotated[int, Field(ge=0)] | None = None
    tensorboard: bool | None = None
    checkpointing: bool | None = None

    def over(self, other: Self) -> Self:
        """This request, with what `other` says where this one says nothing."""
        said = self.model_dump(exclude_none=True)
        below = other.model_dump(exclude_none=True)
        if any(name in said for name in _IMAGES):
            below = {name: value for name, value in below.items() if name not in _IMAGES}
        return type(self)(**(below | said))

    def images(self) -> DataSpec:
        """The images that are meant.

        Raises:
            UsageError: None are named, or in two ways at once.
        """
        hr, lr, listed = (Path(text) if text else None for text in (self.hr_folder, self.lr_folder, self.list))
        return choose_data(self.data, hr, lr, listed, self.align or "none")


def resolved_request(
    images: DataSpec,
    config: TrainConfig,
    *,
    val: Path | None,
    model: Path | None,
    rank_map: Path | None,
    degradation: Path | None,
    tensorboard: bool,
    checkpointing: bool,
) -> TrainRequest:
    """Everything that a run was made with, with nothing left to defaults; paths absolute.

    Args:
        images: What it is trained on.
        config: The resolved options.
        val: Folder of ``--val``.
        model: The backbone's file; None for the embedded one.
        rank_map: File of ``--rank-map``.
        degradation: File that holds what ``--degrade auto`` has found; None for as it was asked for.
        tensorboard: Whether event files are written.
        checkpointing: Whether blocks are computed twice to save memory.
    """

    def absolute(path: Path | None) -> str | None:
        return None if path is None else str(path.resolve())

    folders = tuple(
        f"{folder.path.resolve()}" + ("" if folder.weight is None else f":{folder.weight:g}")
        for folder in images.folders
    )
    options = config.model_dump(exclude={"patch_px", "degrade"}, exclude_none=True)
    return TrainRequest(
        data=folders or None,
        hr_folder=absolute(images.hr),
        lr_folder=absolute(images.lr),
        list=absolute(images.list_file),
        align=images.align,
        val=absolute(val),
        model=absolute(model),
        rank_map=absolute(rank_map),
        patch=config.patch_px,
        degrade=absolute(degradation) or _portable_degradation(config.degrade),
        tensorboard=tensorboard,
        checkpointing=checkpointing,
        **options,
    )


def _portable_degradation(name: str | None) -> str | None:
    """A preset by its name, a file by its absolute path."""
    return str(Path(name).resolve()) if name is not None and name.endswith(".json") else name
