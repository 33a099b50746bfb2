"""The training log: one JSON object a line, and always consistent with the saved state."""

from __future__ import annotations

from pathlib import Path

from adaptsr_cli.artifacts import LogRow
from adaptsr_cli.io.atomic import write_text
from adaptsr_cli.io.documents import parse_document


def read_log(path: Path) -> list[LogRow]:
    """All rows of a log; an empty list where there is no file. A torn last line of a killed run is left out."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole, newline, _ = text.rpartition("\n")
    lines = whole.split("\n") if newline else []
    return [parse_document(line, LogRow, str(path)) for line in lines if line]


def append_row(path: Path, row: LogRow) -> None:
    """Appends one row."""
    with path.open("a", encoding="utf-8") as handle:
        handle.write(row.model_dump_json(exclude_none=True) + "\n")


def cut_log(path: Path, iteration: int) -> None:
    """Drops the rows after `iteration`, which a resumed run will write again."""
    rows = [row for row in read_log(path) if row.iteration <= iteration]
    write_text(path, "".join(row.model_dump_json(exclude_none=True) + "\n" for row in rows))
