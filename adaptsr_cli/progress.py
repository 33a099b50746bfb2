"""How the lower layers tell what they are doing, without knowing how it is shown."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol, Self


class Task(Protocol):
    """One running piece of work with a known or unknown number of steps."""

    def advance(self, steps: int = 1) -> None:
        """Say that `steps` more steps are done."""

    def skip(self, steps: int) -> None:
        """Say that `steps` more need not be done, or were before: they count, but tell nothing of the pace."""

    def show(self, **fields: str) -> None:
        """Set short texts shown beside the bar, for example ``loss="0.0312"``."""


class Progress(Protocol):
    """Where progress and remarks go. Results never go here: they go to stdout through the command."""

    def task(self, description: str, total: int | None, *, unit: str = "it") -> AbstractContextManager[Task]:
        """Open a bar of `total` steps; `unit` names a step in the rate shown."""

    def note(self, message: str) -> None:
        """A remark the user should read once."""

    def warn(self, message: str) -> None:
        """Something that is probably not what the user wanted, though work goes on."""


class TellOnce:
    """A progress that passes everything on, but each remark only once: for several stages in one call.

    Args:
        progress: Where it goes.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told: set[str] = set()

    def task(self, description: str, total: int | None, *, unit: str = "it") -> AbstractContextManager[Task]:
        """Open a bar."""
        return self._progress.task(description, total, unit=unit)

    def note(self, message: str) -> None:
        """Pass a remark on if it is new."""
        if message not in self._told:
            self._told.add(message)
            self._progress.note(message)

    def warn(self, message: str) -> None:
        """Pass a warning on."""
        self._progress.warn(message)


class SilentTask:
    """A task that shows nothing."""

    def advance(self, steps: int = 1) -> None:
        """Do nothing."""

    def skip(self, steps: int) -> None:
        """Do nothing."""

    def show(self, **fields: str) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Within(SilentTask):
    """A progress, and its only task, whose steps count as those of a task that is open; it shows nothing else.

    Args:
        task: The open one.
        before: Steps at the beginning that it has counted already.
    """

    def __init__(self, task: Task, before: int = 0) -> None:
        self._task = task
        self._before = before
        self.done = before

    def task(self, description: str, total: int | None, *, unit: str = "it") -> Self:
        """Begin to count."""
        return self

    def advance(self, steps: int = 1) -> None:
        """Count steps."""
        self.done += steps
        self._task.advance(steps)

    def skip(self, steps: int) -> None:
        """Count steps that were done before."""
        self.done += steps - self._before
        self._task.skip(steps - self._before)

    def note(self, message: str) -> None:
        """Do nothing."""

    def warn(self, message: str) -> None:
        """Do nothing."""


class Silent:
    """A progress that shows nothing, for tests and Python programs; warnings and notes can be read afterwards.

    Args:
        keep: Whether notes and warnings are kept.
    """

    def __init__(self, *, keep: bool = True) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self._keep = keep

    def task(self, description: str, total: int | None, *, unit: str = "it") -> SilentTask:
        """Open a task that shows nothing."""
        return SilentTask()

    def note(self, message: str) -> None:
        """Keep the remark."""
        if self._keep:
            self.notes.append(message)

    def warn(self, message: str) -> None:
        """Keep the warning."""
        if self._keep:
            self.warnings.append(message)


SILENT: Final = Silent(keep=False)
"""The default of every stage: shows nothing and keeps nothing."""
