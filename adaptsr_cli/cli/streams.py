"""Standard streams that are closed, full or without a reader: the work goes on, and what could not be shown is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

from adaptsr_cli.errors import AdaptsrError

_STANDARD = (0, 1, 2)


class GuardedStream:
    """A stream whose faults end nothing: what comes after the first one is lost, and `fault` tells of it.

    Args:
        stream: What is written to; everything but writing is its own.

    Attributes:
        fault: The first error; None as long as all went well.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.fault: OSError | None = None

    def write(self, text: str) -> int:
        """Write as far as that is possible."""
        if self.fault is None:
            try:
                return self._stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush as far as that is possible."""
        if self.fault is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        self.fault = error
        # What is still in the stream's buffer goes nowhere, or the interpreter would fail on it at its end.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@dataclass(frozen=True)
class Streams:
    """The streams of one call of the command line."""

    out: GuardedStream
    err: GuardedStream

    def are_unread(self) -> bool:
        """Whether the reader of stdout went away, as `head` does when it has enough."""
        self.out.flush()
        return isinstance(self.out.fault, BrokenPipeError)

    def lost_results(self) -> AdaptsrError | None:
        """What to tell where results could not be written to stdout; None where they could, or nobody wants them."""
        if self.are_unread() or self.out.fault is None:
            return None
        return AdaptsrError(
            f"cannot write to the standard output: {self.out.fault.strerror or self.out.fault}",
            "the files that the command writes are complete; only what it shows is lost",
        )


@contextmanager
def guarded_streams() -> Iterator[Streams]:
    """Guard stdout and stderr; those that the process was started without are opened to nowhere.

    Yields:
        The guarded streams, which are `sys.stdout` and `sys.stderr` meanwhile.
    """
    _open_missing()
    own = sys.stdout, sys.stderr
    streams = Streams(GuardedStream(sys.stdout), GuardedStream(sys.stderr))
    sys.stdout, sys.stderr = cast(TextIO, streams.out), cast(TextIO, streams.err)
    try:
        yield streams
    finally:
        streams.out.flush()
        streams.err.flush()
        sys.stdout, sys.stderr = own


def _open_missing() -> None:
    """Open to nowhere what is closed, for else the next file that is opened takes the place of a standard stream."""
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    nowhere = Path(os.devnull)
    if sys.stdin is None:
        sys.stdin = nowhere.open(encoding="utf-8")
    if sys.stdout is None:
        sys.stdout = nowhere.open("w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = nowhere.open("w", encoding="utf-8")
