"""Parsing and formatting of parameter budgets, counts, durations, sizes, paths and names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptsr_cli.errors import UsageError

_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000, "b": 1_000_000_000}
_NUMBER = re.compile(r"(?P<value>\d+(?:[_,]\d{3})*(?:\.\d+)?|\.\d+)\s*(?P<unit>[a-zA-Z%]?)")


@dataclass(frozen=True)
class Budget:
    """A number of trainable parameters, given absolutely or as a share of the backbone.

    Attributes:
        text: As the user wrote it.
        params: The absolute number, or None where a share was given.
        share: The share of the backbone's parameters in (0, 1], or None where a number was given.
    """

    text: str
    params: int | None
    share: float | None

    def resolve(self, backbone_params: int) -> int:
        """The budget in parameters for a backbone of `backbone_params` parameters, rounded down."""
        if self.params is not None:
            return self.params
        assert self.share is not None
        return int(self.share * backbone_params)


def parse_budget(text: str) -> Budget:
    """Read ``886k``, ``1.2M``, ``8%`` or ``886000``.

    Raises:
        UsageError: The text is not such a number, or the number is not positive.
    """
    hint = "write it as 886k, 1.2M, 8% or 886000"
    match = _NUMBER.fullmatch(text.strip())
    unit = match["unit"].lower() if match else ""
    if match is None or unit not in {*_FACTORS, "%"}:
        raise UsageError(f"budget {text!r} is not a number of parameters", hint)
    value = float(match["value"].replace("_", "").replace(",", ""))
    if unit == "%":
        if not 0 < value <= 100:
            raise UsageError(f"budget {text!r} is not between 0% and 100%", hint)
        return Budget(text, None, value / 100)
    params = round(value * _FACTORS[unit])
    if params <= 0:
        raise UsageError(f"budget {text!r} is less than one parameter", hint)
    return Budget(text, params, None)


def parse_bytes(text: str, option: str) -> int:
    """Read a size such as ``2G``, ``512MB`` or ``0``, with decimal units, that an option was given as.

    Raises:
        UsageError: The text is not such a size.
    """
    match = re.fullmatch(r"(?P<value>\d+(?:\.\d+)?)\s*(?P<unit>[kmgt]?)b?", text.strip().lower())
    if match is None:
        raise UsageError(f"`{option}` {text!r} is not a valid size", "write it as 2G, 512M or 0")
    power = " kmgt".index(match["unit"] or " ")
    return int(float(match["value"]) * 1000.0**power)


def format_params(count: int) -> str:
    """Render a parameter count for people: 12.0M, 886k, 420."""
    if count >= 999_500:
        return f"{count / 1e6:.1f}M"
    if count >= 1_000:
        return f"{count / 1e3:.0f}k" if count >= 99_500 else f"{count / 1e3:.1f}k"
    return str(count)


def format_seconds(seconds: float) -> str:
    """Render a duration: 12.3 s, 4 min 10 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_bytes(count: int) -> str:
    """Render a file size with decimal units: 971.1 kB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable")


def list_some(items: Sequence[str], limit: int = 3, separator: str = ", ") -> str:
    """Render the first items and how many others there are: ``a, b, c and 4 more``."""
    more = f" and {len(items) - limit:,} more" if len(items) > limit else ""
    return separator.join(items[:limit]) + more


def readable(name: str | Path) -> str:
    r"""A file name as text that can be stored and printed: bytes that are no UTF-8 are written out as ``\xe9``."""
    text = str(name)
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a pair of UTF-16, which Windows takes in names
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def readable_texts(value: Any) -> Any:
    """A value with `readable` texts in its place, in sequences and dictionaries too."""
    if isinstance(value, str):
        return readable(value)
    if isinstance(value, list | tuple):
        return type(value)(map(readable_texts, value))
    if isinstance(value, dict):
        return {readable_texts(key): readable_texts(item) for key, item in value.items()}
    return value


def join_words(words: Sequence[str]) -> str:
    """``A``, ``A and B``, ``A, B and C``."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def plural(count: int, noun: str) -> str:
    """``1 pair``, ``2 pairs``, with thousands separated."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def agree(count: int, verb: str) -> str:
    """The verb behind a number of things: ``show``, ``are`` or ``were``, of one thing ``shows``, ``is`` or ``was``."""
    return {"are": "is", "were": "was", "do": "does"}.get(verb, f"{verb}s") if count == 1 else verb


def format_path(path: Path) -> str:
    """A path in one line: line ends and tabs, which a name may hold, written out."""
    return readable(path).replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
