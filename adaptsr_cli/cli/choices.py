"""Turning option texts into typed values, with one clear line where they are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from adaptsr_cli.backbones.catalogue import weights_dir as find_weights_dir
from adaptsr_cli.errors import UsageError, nearest
from adaptsr_cli.stages.run_folder import ModelChoice

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


def model_choice(name: str | None, weights_dir: Path | None, offline: bool) -> ModelChoice:
    """The network that the user wants, and where it may be looked for."""
    return ModelChoice(name, find_weights_dir(weights_dir), offline)
