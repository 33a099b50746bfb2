"""The table of commands: one record each. To add a command, add its module and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Final


@dataclass(frozen=True)
class CommandEntry:
    """One command.

    Attributes:
        load: Imports its module, which has ``run(options, as_json)``, whose docstring is the help, and ``make()``, the
            function that typer registers. The import must be cheap; what the work needs is imported inside of these.
        in_group: Whether several processes can do it together, started by ``torchrun``.
        uses_torch: Whether it imports torch.
    """

    load: Callable[[], ModuleType]
    in_group: bool = False
    uses_torch: bool = True

    def describe(self) -> str:
        """The help text."""
        return str(self.load().run.__doc__)

    def make(self) -> Callable[..., None]:
        """The function whose parameters are the options."""
        made: Callable[..., None] = self.load().make()
        return made


def _score() -> ModuleType:
    from adaptsr_cli.cli import score

    return score


def _allocate() -> ModuleType:
    from adaptsr_cli.cli import allocate

    return allocate


def _reallocate() -> ModuleType:
    from adaptsr_cli.cli import reallocate

    return reallocate


def _train() -> ModuleType:
    from adaptsr_cli.cli import train

    return train


def _truncate() -> ModuleType:
    from adaptsr_cli.cli import truncate

    return truncate


def _merge() -> ModuleType:
    from adaptsr_cli.cli import merge

    return merge


def _evaluate() -> ModuleType:
    from adaptsr_cli.cli import evaluate

    return evaluate


def _export() -> ModuleType:
    from adaptsr_cli.cli import export

    return export


def _upscale() -> ModuleType:
    from adaptsr_cli.cli import upscale

    return upscale


def _pair() -> ModuleType:
    from adaptsr_cli.cli import pair

    return pair


def _adapt() -> ModuleType:
    from adaptsr_cli.cli import adapt

    return adapt


def _demo() -> ModuleType:
    from adaptsr_cli.cli import demo

    return demo


def _info() -> ModuleType:
    from adaptsr_cli.cli import info

    return info


def _models() -> ModuleType:
    from adaptsr_cli.cli import models

    return models


COMMANDS: Final[dict[str, CommandEntry]] = {
    "score": CommandEntry(_score, in_group=True),
    "allocate": CommandEntry(_allocate),
    "reallocate": CommandEntry(_reallocate),
    "train": CommandEntry(_train, in_group=True),
    "truncate": CommandEntry(_truncate),
    "merge": CommandEntry(_merge),
    "export": CommandEntry(_export),
    "eval": CommandEntry(_evaluate, in_group=True),
    "upscale": CommandEntry(_upscale, in_group=True),
    "pair": CommandEntry(_pair),
    "adapt": CommandEntry(_adapt, in_group=True),
    "demo": CommandEntry(_demo),
    "info": CommandEntry(_info),
    "models": CommandEntry(_models, uses_torch=False),
}
