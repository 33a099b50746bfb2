"""Training log, one JSON object a line, always consistent with the saved state."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from adaptsr_cli.artifacts.log import LogRow
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.atomic import write_text
from adaptsr_cli.io.documents import parse_document

_TWO_NUMBERS: Final = re.compile(r"[1-9][\d.]{18,}")
"""More than the 17 digits of any number that is written: a hole, across which two have run together."""


def read_log(path: Path) -> list[LogRow]:
    """All rows of a log; an empty list where there is no file. A torn last line of a killed run is left out.

    Raises:
        ArtifactError: A row is damaged.
    """
    if not path.exists():
        return []
    try:
        whole, newline, _ = path.read_bytes().rpartition(b"\n")
        lines = whole.decode("utf-8").split("\n") if newline else []
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ArtifactError(f"cannot read {path}: {reason}", "repair the file, or start again with `force`") from error
    if any(_TWO_NUMBERS.search(line) for line in lines):
        raise ArtifactError(f"{path}: a part of the file is missing", "repair the file, or start again with `force`")
    return [parse_document(line, LogRow, str(path)) for line in lines if line]


def append_row(path: Path, row: LogRow) -> None:
    """Append one row."""
    with path.open("a", encoding="utf-8") as handle:
        handle.write(row.model_dump_json(exclude_none=True) + "\n")


def cut_log(path: Path, iteration: int) -> None:
    """Drop the rows after `iteration`, which a resumed run will write again."""
    rows = [row for row in read_log(path) if row.iteration <= iteration]
    write_text(path, "".join(row.model_dump_json(exclude_none=True) + "\n" for row in rows))
