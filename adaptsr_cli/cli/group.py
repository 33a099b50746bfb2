"""Commands that several processes may run together, and what each of them shows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from adaptsr_cli.cli.console import Console
from adaptsr_cli.distributed import World, join_world


@contextmanager
def join_group(
    *, as_json: bool, timeout_s: float = 1800, wording: Callable[[str], str] = str
) -> Iterator[tuple[World, Console]]:
    """Join the processes that ``torchrun`` has started; only the first one talks, besides errors.

    Args:
        as_json: Results are one JSON object.
        timeout_s: How long one process waits for another before it gives up.
        wording: As of `Console`.

    Yields:
        The group, which is this process alone for an ordinary command, and the console to tell it on.

    Raises:
        GroupError: The others cannot be reached.
    """
    with join_world(timeout_s=timeout_s) as world:
        if world.is_main_process:
            yield world, Console(as_json=as_json, wording=wording)
            return
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            yield world, Console(as_json=as_json, out=nowhere, err=nowhere)
