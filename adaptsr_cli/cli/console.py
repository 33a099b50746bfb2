"""Console output: progress, notes, warnings and errors on stderr, results on stdout. The only file that imports rich.

Text from outside (file names, messages) is shown as it is: no markup, emoji codes, control characters or line ends.
rich is imported when the first thing is shown, so that importing this file costs next to nothing.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from adaptsr_cli.cli.task import ConsoleTask
from adaptsr_cli.cli.text import escape_control_chars
from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.units import format_seconds, readable, readable_texts

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import RenderableType
    from rich.live import Live

LOG_INTERVAL_S = 10.0  # between two lines of one task where there is no terminal
_NO_WIDTH = 100_000  # of a pipe or file, where nothing is folded
_NUMBER = re.compile(r"[-+±<]?\.?\d[\d.,]*(e[-+]?\d+)?( ?[A-Za-z%]{1,3})?")
_BAR_CELLS = (12, 40)  # narrowest and widest bar


class Console:
    """The user's terminal, or the pipe or log file in its place. Implements `adaptsr_cli.progress.Progress`.

    Args:
        as_json: Results are one JSON object; tables and lines are left out.
        out: Where results go; stdout where left out.
        err: Where everything else goes; stderr where left out.
        clock: Seconds from any fixed point, for tests.
        wording: Turns notes and warnings of the lower layers, which name fields of options, into the words of the user.
    """

    def __init__(
        self,
        *,
        as_json: bool = False,
        out: TextIO | None = None,
        err: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
        wording: Callable[[str], str] = str,
    ) -> None:
        self.as_json = as_json
        self._out_stream = _tolerant(out or sys.stdout)
        self._err_stream = _tolerant(err or sys.stderr)
        self._clock = clock
        self._wording = wording
        self._tasks: list[ConsoleTask] = []
        self._live: Live | None = None

    @contextmanager
    def task(self, description: str, total: int | None, *, unit: str = "it") -> Iterator[ConsoleTask]:
        """Open a bar of `total` steps; `unit` names a step in the rate shown.

        A bar opened inside another goes away when it is done, the outermost stays. Without a terminal there is a log
        line every ten seconds and one at the end; for inner tasks only if they took as long.
        """
        task = ConsoleTask(description, total, unit, self._clock, self._task_changed)
        self._tasks.append(task)
        if self._live is None and self._bars_possible:
            self._start_live()
        try:
            yield task
        finally:
            task.stop()
            if len(self._tasks) == 1:
                self._stop_live()
            if not self._bars_possible and (len(self._tasks) == 1 or task.elapsed_s >= LOG_INTERVAL_S):
                self._log(task)
            self._tasks.remove(task)

    def note(self, message: str) -> None:
        """A remark the user should read once."""
        self._message("", "", self._wording(message))

    def warn(self, message: str) -> None:
        """Something that is probably not what the user wanted, though work goes on."""
        self._message("warning: ", "yellow", self._wording(message))

    def error(self, error: AdaptsrError) -> None:
        """Say what is wrong and, on a second line, what to do next."""
        self._message("error: ", "bold red", error.message)
        if error.hint:
            self._message("hint: ", "bold", error.hint)

    def line(self, text: str = "") -> None:
        """One line of results; nothing under ``--json``."""
        if not self.as_json:
            from rich.text import Text

            with self._paused():
                self._out.print(Text(escape_control_chars(text)), soft_wrap=True)

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        numeric: Collection[str] | None = None,
    ) -> None:
        """A table of results; nothing under ``--json``.

        In a narrow terminal long texts are folded, never cut; without a terminal a row is always one line.

        Args:
            title: What it shows; may be empty.
            columns: Headings.
            rows: One text per column.
            numeric: Headings of the columns that are set flush right and never folded; left out: all but
                the first column that hold nothing but numbers.
        """
        if self.as_json:
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=any(columns))
        for place, column in enumerate(columns):
            cells = [row[place] for row in rows]
            flush_right = place > 0 and _are_numbers(cells) if numeric is None else column in numeric
            justify: Literal["left", "right"] = "right" if flush_right else "left"
            table.add_column(Text(escape_control_chars(column)), justify=justify, no_wrap=flush_right, overflow="fold")
        for row in rows:
            table.add_row(*(Text(escape_control_chars(cell)) for cell in row))
        with self._paused():
            if title:
                self._out.print(Text(escape_control_chars(title), style="bold"), soft_wrap=True)
            self._out.print(table)

    def json(self, result: Mapping[str, object]) -> None:
        """The result as one JSON object on stdout; nothing without ``--json``. Paths become texts.

        Raises:
            ValueError: A NaN or an infinity, which JSON does not know.
        """
        if self.as_json:
            text = json.dumps(readable_texts(result), indent=1, allow_nan=False, default=_path_text)
            with self._paused():
                self._out_stream.write(text + "\n")
                self._out_stream.flush()

    @cached_property
    def _out(self) -> RichConsole:
        return _rich_console(self._out_stream)

    @cached_property
    def _err(self) -> RichConsole:
        return _rich_console(self._err_stream)

    @cached_property
    def _bars_possible(self) -> bool:
        """Whether stderr can redraw a line; asked of the stream, as CI systems force colours on pipes."""
        return _is_terminal(self._err_stream) and os.environ.get("TERM") not in {"dumb", "unknown"}

    def _message(self, label: str, style: str, text: str) -> None:
        """One message on stderr; above the bars if there are any."""
        from rich.text import Text

        self._err.print(
            Text.assemble((label, style), (escape_control_chars(text), "" if label else style)), soft_wrap=True
        )

    def _log(self, task: ConsoleTask) -> None:
        task.logged_at = self._clock()
        self._message("", "", task.log_text())

    def _task_changed(self, task: ConsoleTask) -> None:
        """Where there is no terminal: a line now and then. With one, the bars redraw themselves."""
        if not self._bars_possible and self._clock() - task.logged_at >= LOG_INTERVAL_S:
            self._log(task)

    def _start_live(self) -> None:
        from rich.live import Live

        # stdout is left alone: it may be a file, and its results must not go to stderr with the bars
        self._live = Live(get_renderable=self._bars, console=self._err, refresh_per_second=8, redirect_stdout=False)
        self._live.start()

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Take the bars away while something is written to stdout, which may be the same terminal."""
        running = self._live is not None
        if self._live is not None:
            self._live.transient = True
            self._stop_live()
        yield
        if running:
            self._start_live()

    def _bars(self) -> RenderableType:
        from rich.console import Group

        return Group(*(part for task in list(self._tasks) for part in self._bar(task)))

    def _bar(self, task: ConsoleTask) -> list[RenderableType]:
        """One bar in one line if the terminal is wide enough; else the fields go below, and the pace is left out first.

        Drawn here, not by `rich.progress.Progress`, which cuts its columns off in a narrow terminal and counts the pace
        of a resumed run from where it was before.
        """
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        width = self._err.width - 1
        eta = "" if task.eta_s is None else f"eta {format_seconds(task.eta_s)}"
        texts = [task.count_text(), task.rate_text(), format_seconds(task.elapsed_s), eta, task.fields_text()]
        name = task.description if len(task.description) <= width // 3 else task.description[: width // 3 - 1] + "…"

        def room() -> int:
            return width - len(name) - 1 - sum(len(text) + 2 for text in texts if text)

        below = texts.pop() if room() < _BAR_CELLS[0] else ""
        while len(texts) > 1 and room() < _BAR_CELLS[0]:
            texts.pop()
        grid = Table.grid(padding=(0, 1))
        bar = ProgressBar(
            total=task.total,
            completed=task.completed,
            width=max(4, min(room(), _BAR_CELLS[1])),
            pulse=task.total is None,
        )
        grid.add_row(Text(name), bar, *(Text(text, style="dim" if place else "") for place, text in enumerate(texts)))
        return [grid, Text(f"  {below}", overflow="ellipsis", no_wrap=True)] if below else [grid]


def _are_numbers(cells: Sequence[str]) -> bool:
    """Whether every cell that holds anything holds a number, with a unit or without."""
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def _path_text(value: object) -> str:
    """What `json` does not know: paths become texts, everything else is a fault."""
    if isinstance(value, Path):
        return readable(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


class _Nobody(io.StringIO):
    """A stream that nobody reads."""

    def write(self, text: str) -> int:
        """Keep nothing."""
        return len(text)


def _tolerant(stream: TextIO | None) -> TextIO:
    """Let a stream that cannot encode a letter write its escape instead of failing; where there is none, say nothing.

    A program without a terminal, such as one of ``pythonw``, has no standard streams.
    """
    if stream is None:
        return _Nobody()
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return stream


def _is_terminal(stream: TextIO) -> bool:
    """Also where it is the log of a program with windows, which need not know the question."""
    isatty = getattr(stream, "isatty", None)
    return isatty is not None and isatty()


def _rich_console(stream: TextIO) -> RichConsole:
    """A rich console that treats every text as plain, and a pipe as a pipe whatever the environment says."""
    from rich.console import Console as RichConsole

    return RichConsole(
        file=stream,
        force_terminal=_is_terminal(stream),
        force_jupyter=False,
        markup=False,
        emoji=False,
        width=None if _is_terminal(stream) else _NO_WIDTH,
        highlight=False,
    )
