"""Turning option texts into typed values, with one clear line where they are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar, cast, get_args

from adaptsr_cli.artifacts.base import Factorization, LoraInit, LoraScaling, Method, ShiraMask
from adaptsr_cli.backbones.catalogue import weights_dir as find_weights_dir
from adaptsr_cli.data.sources import Align, DataSpec, choose_data
from adaptsr_cli.errors import UsageError, nearest
from adaptsr_cli.io.documents import read_toml
from adaptsr_cli.stages.common.models import ModelSpec
from adaptsr_cli.stages.common.training_data import CacheSizes
from adaptsr_cli.stages.train.request import PrecisionChoice, TrainRequest
from adaptsr_cli.training.config import ObjectiveName, PresetName, ScheduleName
from adaptsr_cli.units import parse_bytes

Choice = TypeVar("Choice", bound=str)

_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "align": get_args(Align),
    "preset": get_args(PresetName),
    "method": get_args(Method),
    "objective": get_args(ObjectiveName),
    "init": get_args(LoraInit),
    "conv_factorization": get_args(Factorization),
    "shira_mask": get_args(ShiraMask),
    "scale": get_args(LoraScaling),
    "schedule": get_args(ScheduleName),
    "precision": get_args(PrecisionChoice),
}


def choose(option: str, text: str, known: Sequence[Choice]) -> Choice:
    """The member of `known` that the user wrote.

    Raises:
        UsageError: It is none of them.
    """
    for choice in known:
        if choice == text.lower():
            return choice
    raise UsageError(f"{option} {text!r} is unknown", nearest(text, known) or f"choose from {', '.join(known)}")


def model_choice(name: str | None, weights_dir: Path | None, offline: bool) -> ModelSpec:
    """The network that the user wants, and where it may be looked for."""
    return ModelSpec(name, find_weights_dir(weights_dir), offline)


def choose_images(
    folders: list[str] | None, hr: Path | None, lr: Path | None, list_file: Path | None, align: str | None
) -> DataSpec:
    """The images that ``--data``, ``--hr`` and ``--lr``, ``--list`` and ``--align`` mean.

    Raises:
        UsageError: They contradict each other, or none is given.
    """
    return choose_data(folders, hr, lr, list_file, choose("--align", align or "none", get_args(Align)))


def cache_sizes(ram: str | None, disk: str) -> CacheSizes:
    """The room for decoded images that ``--cache-ram`` and ``--cache-disk`` give.

    Raises:
        UsageError: One of them is no size.
    """
    return CacheSizes(parse_bytes(ram) if ram is not None else None, parse_bytes(disk))


def make_request(given: Mapping[str, object], config: Path | None) -> TrainRequest:
    """What the command line asks for, put over what a file asks for.

    Args:
        given: By option name with ``_`` for ``-``; None for those that were left out. ``lr`` may mean both the LR
            folder and the learning rate, and ``hr`` is the HR folder.
        config: The file of ``--config``.

    Raises:
        UsageError: A value that the option does not take.
        ArtifactError: The file cannot be read, or has unknown keys or wrong types.
    """
    below = read_toml(config, TrainRequest) if config is not None else TrainRequest()
    values = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    lr_folder, values["lr"] = split_lr(cast("list[str] | None", given["lr"]))
    values |= {"hr_folder": values.pop("hr"), "lr_folder": None if lr_folder is None else str(lr_folder)}
    folders = cast("list[str] | None", given["data"])
    values["data"] = tuple(folders) if folders else None
    for name, known in _CHOICES.items():
        if isinstance(text := values.get(name), str):
            values[name] = choose(f"--{name.replace('_', '-')}", text, known)
    ema = values.get("ema")
    if isinstance(ema, float) and not 0 < ema < 1:
        raise UsageError(f"--ema {ema:g} is no decay", "use a number between 0 and 1, such as 0.999")
    return TrainRequest.model_validate({name: value for name, value in values.items() if value is not None}).over(below)


def split_lr(texts: list[str] | None) -> tuple[Path | None, float | None]:
    """Tells the two meanings of ``--lr`` apart where a command knows both: the LR folder and the learning rate.

    A number is a learning rate unless a folder of that name exists.

    Returns:
        (LR folder, learning rate in [1e-8, 1])

    Raises:
        UsageError: A number that is no learning rate, or the same meaning twice.
    """
    folders: list[Path] = []
    rates: list[float] = []
    for text in texts or ():
        number = _read_number(text)
        if number is None or Path(text).is_dir():
            folders.append(Path(text))
        elif 1e-8 <= number <= 1:
            rates.append(number)
        else:
            raise UsageError(
                f"--lr {text} is neither a learning rate from 1e-8 to 1 nor a folder",
                "for example --lr 1e-3, or --hr FOLDER --lr FOLDER for the two sides of the pairs",
            )
    for what, given in (("learning rate", rates), ("LR folder", folders)):
        if len(given) > 1:
            raise UsageError(f"--lr gives more than one {what}", "give one learning rate and one LR folder at most")
    return (folders[0] if folders else None), (rates[0] if rates else None)


def _read_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
