"""Turning option texts into typed values, with one clear line where they are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, get_args

from adaptsr_cli.data.sources import Align, DataSpec, choose_data
from adaptsr_cli.errors import UsageError, nearest
from adaptsr_cli.stages.common.models import ModelSpec

Choice = TypeVar("Choice", bound=str)


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
    return ModelSpec.of(name, weights_dir, offline=offline)


def choose_images(
    folders: list[str] | None, hr: Path | None, lr: Path | None, list_file: Path | None, align: str | None
) -> DataSpec:
    """The images that the options mean.

    Raises:
        UsageError: They contradict each other, or none is given.
    """
    return choose_data(folders, hr, lr, list_file, choose("--align", align or "none", get_args(Align)))
