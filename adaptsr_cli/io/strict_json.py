"""JSON parsing that refuses duplicate keys, non-finite and oversized numbers, and deep nesting."""

from __future__ import annotations

import json
import math

MAX_CHARACTERS = 32 << 20
"""Of one document: ten times the largest that is ever written. Longer ones would take gigabytes to refuse."""

_MAX_DIGITS = 20


def parse_json(text: str | bytes) -> object:
    """Parse JSON and refuse what `json.loads` lets pass.

    Args:
        text: UTF-8 where it is bytes.

    Raises:
        ValueError: It is no JSON, or it is too long or nested too deep, names a key twice, or holds NaN, infinity or
            an integer beyond 64 bits.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it is longer than {MAX_CHARACTERS >> 20} MiB")
    try:
        return json.loads(
            text if isinstance(text, str) else text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_small_int,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:100]!r} comes twice")
    return found


def _small_int(text: str) -> int:
    # Before it is made a number: Python refuses thousands of digits, and no count or size here needs so many.
    if len(text.lstrip("-")) > _MAX_DIGITS or not -(1 << 63) <= int(text) < 1 << 64:
        raise ValueError(f"the number {text[:30]}... is too large")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:30]} is not a finite number")
    return value
