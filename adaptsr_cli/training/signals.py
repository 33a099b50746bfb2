"""SIGINT and SIGTERM as a request to stop at a safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Set by the first SIGINT or SIGTERM; a second one stops at once."""

    def __init__(self) -> None:
        self.name: str | None = None


@contextmanager
def catch_stop() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a flag for the loop to read; only in the main thread, where signals arrive."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def remember(number: int, _frame: FrameType | None) -> None:
        if request.name is not None:
            raise KeyboardInterrupt
        request.name = signal.Signals(number).name

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
