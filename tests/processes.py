"""Command lines in processes of their own, which are forked from one that has imported everything already.

They are as separate as processes are, but for the seconds that each would take to import torch.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Final
from unittest.mock import patch

import adaptsr_cli
from adaptsr_cli.cli.app import main

_IMPORTED: Final = (
    *("adaptsr_cli.stages.train.stage", "adaptsr_cli.stages.evaluate.stage", "adaptsr_cli.stages.upscale.stage"),
    "adaptsr_cli.report.figures",
    "torch._dynamo",  # torch imports it when an optimiser is made
)
_TIMEOUT_S: Final = 120


class CommandProcess:
    """A command line that runs in a process of its own.

    Args:
        words: What is typed after ``adaptsr``.
        folder: Where it runs.
        environment: What it finds in its environment besides what is there.
        prepare: Called in that process before the command; of a module that it can import, which `hanging` is.
    """

    def __init__(
        self,
        words: Sequence[object],
        folder: Path,
        environment: Mapping[str, str],
        prepare: Callable[[], None] | None = None,
    ) -> None:
        number = len(list(folder.glob("stdout-*")))
        self._printed = tuple(folder / f"{stream}-{number}" for stream in ("stdout", "stderr"))
        for path in self._printed:
            path.touch()
        settings = {**os.environ, **environment}
        arguments = (list(map(str, words)), folder, settings, self._printed, prepare)
        self._process = _server().Process(target=_run, args=arguments)
        self._process.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.is_alive()

    def kill(self) -> None:
        """End it at once, by a signal that it cannot hear."""
        self._process.kill()
        self._process.join(_TIMEOUT_S)

    def terminate(self) -> None:
        """Ask it to end, as systems and service managers do."""
        self._process.terminate()

    def finish(self) -> tuple[int, str, str]:
        """Wait for its end; exit code, stdout and stderr."""
        self._process.join(_TIMEOUT_S)
        code = self._process.exitcode
        if code is None:
            self.kill()
            raise TimeoutError(f"still running after {_TIMEOUT_S} s")
        out, err = (path.read_text(encoding="utf-8") for path in self._printed)
        return code, out, err


def start_group(
    words: Sequence[object], folder: Path, *, prepare_last: Callable[[], None] | None = None
) -> list[CommandProcess]:
    """Start a command in two processes, as torchrun would; `prepare_last` is called in the second one."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ADAPTSR_CACHE": str(folder / "cache")}
    return [
        CommandProcess(words, folder, {**group, "RANK": rank, "LOCAL_RANK": rank}, prepare)
        for rank, prepare in (("0", None), ("1", prepare_last))
    ]


@cache
def _server() -> ForkServerContext:
    """The process that the others are forked from; it runs nothing but imports, so that it has one thread."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    place = str(Path(adaptsr_cli.__file__).resolve().parents[1])
    with patch.dict(os.environ, {"PYTHONPATH": place}):
        forkserver.ensure_running()
    return context


def _run(
    words: list[str],
    folder: Path,
    settings: dict[str, str],
    printed: tuple[Path, ...],
    prepare: Callable[[], None] | None,
) -> None:
    """What the process does."""
    for number, path in enumerate(printed, start=1):
        with path.open("ab") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(settings)
    os.chdir(folder)
    sys.argv = ["adaptsr", *words]
    if prepare is not None:
        prepare()
    main()
