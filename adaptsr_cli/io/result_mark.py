"""What results of ``adaptsr upscale`` say of themselves in their metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.io.images import read_note


@dataclass(frozen=True)
class ResultMark:
    """What a result says of itself.

    Attributes:
        factor: By which it was upscaled.
        source: Fingerprint of what it was made of.
    """

    factor: float
    source: str


def read_mark(path: Path) -> ResultMark | None:
    """Read from the header what a file says of how it was made; None where it is no result, or cannot be read.

    Read without regard to the version: one of any version is a result.
    """
    try:
        note: Any = json.loads(read_note(path) or "null")
    except (AdaptsrError, ValueError, RecursionError):
        return None
    if not isinstance(note, dict) or note.get("artifact") != "upscaled":
        return None
    factor, source = note.get("outscale"), note.get("source")
    return ResultMark(float(factor) if isinstance(factor, int | float) else 0.0, str(source))


def leave_out_results(photographs: Sequence[Path]) -> list[Path]:
    """Those of the photographs that were taken, from their headers; where all are results, all of them."""
    return [path for path in photographs if read_mark(path) is None] or list(photographs)
