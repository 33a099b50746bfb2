"""Reading and writing the typed artifacts as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from adaptsr_cli.artifacts import Frozen
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.atomic import write_text

Document = TypeVar("Document", bound=Frozen)


def parse_document(text: str, kind: type[Document], place: str) -> Document:
    """Reads one artifact from JSON text.

    Args:
        text: The JSON.
        kind: What it must be.
        place: Where the text came from, for the message.

    Raises:
        ArtifactError: It is no JSON, of another kind or version, or has unknown, missing or ill-typed keys.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ArtifactError(
            f"{place} is no valid {kind.__name__} file: {where}: {first['msg']}",
            "it is damaged, of another version, or another kind of file; make it anew",
        ) from error


def read_document(path: Path, kind: type[Document]) -> Document:
    """Reads one artifact from a file.

    Raises:
        ArtifactError: The file is missing, unreadable, or not a valid `kind`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ArtifactError(f"cannot read {path}: {reason}", "check the path") from error
    return parse_document(text, kind, str(path))


def write_document(path: Path, document: Frozen) -> None:
    """Writes one artifact as indented JSON, atomically."""
    write_text(path, document.model_dump_json(indent=1) + "\n")
