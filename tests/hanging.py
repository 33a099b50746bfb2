"""Where processes of tests hang until they are killed; in a module that they can import, unlike those of the tests."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from adaptsr_cli.distributed import World

HANGING = "hanging"
"""The file that the process leaves in its folder when it hangs."""


def hang_at_the_25th_step() -> None:
    """Lets the process wait for ever where the gradients of the 25th step would be summed."""
    add, calls = World.all_reduce_sum_, iter(range(1, 1000))

    def hang(world: World, tensors: Sequence[Tensor]) -> None:
        if next(calls) == 25:
            _hang()
        add(world, tensors)

    World.all_reduce_sum_ = hang  # type: ignore[method-assign]


def hang_at_the_fourth_result() -> None:
    """Lets the process write three results and wait for ever where the fourth would get its name."""
    replace = Path.replace

    def hang(path: Path, target: Path) -> Path:
        if Path(target).name >= "03":
            _hang()
        return replace(path, target)

    Path.replace = hang  # type: ignore[method-assign]


def _hang() -> None:
    Path(HANGING).touch()
    threading.Event().wait()
