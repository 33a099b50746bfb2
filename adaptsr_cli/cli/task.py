"""Count, rate and remaining time of a running task, as text. Nothing is drawn here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from adaptsr_cli.cli.text import escape_control_chars
from adaptsr_cli.units import format_bytes, format_seconds

_RATE_WINDOW_S = 30.0
_SAMPLE_INTERVAL_S = 0.5


class ConsoleTask:
    """One running piece of work and what is known about its pace.

    Args:
        description: What is being done.
        total: Number of steps, or None where nobody knows.
        unit: What a step is called.
        clock: Seconds from any fixed point, never going back.
        changed: Called after every change.
    """

    def __init__(
        self,
        description: str,
        total: int | None,
        unit: str,
        clock: Callable[[], float],
        changed: Callable[[ConsoleTask], None],
    ) -> None:
        self.description = escape_control_chars(description)
        self.total = total
        self.unit = unit
        self.completed = 0
        self.fields: dict[str, str] = {}
        self.logged_at = self._started = clock()
        self._stopped: float | None = None
        self._clock = clock
        self._changed = changed
        self._skipped = 0
        self._samples = deque([(self._started, 0)])

    def advance(self, steps: int = 1) -> None:
        """Say that `steps` more steps are done."""
        self.completed += steps
        now = self._clock()
        if now - self._samples[-1][0] >= _SAMPLE_INTERVAL_S:
            self._samples.append((now, self.completed - self._skipped))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_WINDOW_S:
            self._samples.popleft()
        self._changed(self)

    def skip(self, steps: int) -> None:
        """Say that `steps` more need not be done, or were before: they count, but tell nothing of the pace."""
        self.completed += steps
        self._skipped += steps
        self._changed(self)

    def show(self, **fields: str) -> None:
        """Set short texts shown beside the bar; an empty text takes a field away."""
        self.fields |= {name: escape_control_chars(text) for name, text in fields.items()}
        self.fields = {name: text for name, text in self.fields.items() if text}
        self._changed(self)

    def stop(self) -> None:
        """Stop the task's clock."""
        self._stopped = self._clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start, or from start to stop."""
        return (self._clock() if self._stopped is None else self._stopped) - self._started

    @property
    def rate(self) -> float | None:
        """Steps per second over the last half minute, over the whole time once stopped; None until it is known."""
        since, before = self._samples[0] if self._stopped is None else (self._started, 0)
        steps = self.completed - self._skipped - before
        seconds = (self._clock() if self._stopped is None else self._stopped) - since
        return steps / seconds if seconds > 0 and steps > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Seconds still to go at this rate."""
        rate = self.rate
        if self.total is None or rate is None or self._stopped is not None:
            return None
        return max(0, self.total - self.completed) / rate

    def count_text(self) -> str:
        """``120/1000 it``, without the total where it is unknown; bytes (unit ``B``) as ``1.2 MB/9.7 MB``."""
        if self.unit == "B":
            return "/".join(format_bytes(count) for count in (self.completed, self.total) if count is not None)
        return f"{self.completed}{'' if self.total is None else f'/{self.total}'} {self.unit}"

    def rate_text(self) -> str:
        """``3.2 it/s``, or ``4.1 s/it`` for slow steps; empty where unknown."""
        rate = self.rate
        if rate is None:
            return ""
        if self.unit == "B":
            return f"{format_bytes(round(rate))}/s"
        return f"{rate:.1f} {self.unit}/s" if rate >= 1 else f"{1 / rate:.1f} s/{self.unit}"

    def fields_text(self) -> str:
        """``loss 0.0312  val psnr 27.3``."""
        return "  ".join(f"{name.replace('_', ' ')} {text}" for name, text in self.fields.items())

    def log_text(self) -> str:
        """The task on one line, for logs."""
        parts = [self.count_text()]
        if self._stopped is not None:
            parts[0] += f" in {format_seconds(self.elapsed_s)}"
        parts.append(self.rate_text())
        if self.eta_s is not None:
            parts.append(f"eta {format_seconds(self.eta_s)}")
        parts.append(self.fields_text().replace("  ", ", "))
        return f"{self.description}: {', '.join(part for part in parts if part)}"
