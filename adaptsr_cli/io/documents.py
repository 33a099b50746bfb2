"""Typed artifacts as JSON files, and options as TOML files."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError

from adaptsr_cli.artifacts.base import StrictModel
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.atomic import write_text
from adaptsr_cli.io.file_kinds import require_regular
from adaptsr_cli.io.strict_json import MAX_CHARACTERS, parse_json
from adaptsr_cli.options import OptionsModel, describe_fault
from adaptsr_cli.units import readable_texts

Document = TypeVar("Document", bound=StrictModel)
Options = TypeVar("Options", bound=OptionsModel)


def parse_document(text: str, kind: type[Document], place: str) -> Document:
    """Read one artifact from JSON text.

    Args:
        text: The JSON.
        kind: What it must be.
        place: Where the text came from, for the message.

    Raises:
        ArtifactError: It is no JSON, of another kind or version, or has unknown, missing, repeated or ill-typed keys.
    """
    hint = "it is damaged, of another version, or another kind of file; make it again"
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ArtifactError(f"{place} is not a valid {kind.__name__} file: {error}", hint) from error
    _refuse_other_kind(content, kind, place)
    # These have a default, since there is but one value to give them; a file without them says not what it is. And
    # `true` equals 1 for pydantic.
    for name in ("artifact", "format_version"):
        if name in kind.model_fields and isinstance(content, dict) and isinstance(content.get(name), bool | None):
            raise ArtifactError(f"{place} is not a valid {kind.__name__} file: {name} is missing", hint)
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise ArtifactError(f"{place} is not a valid {kind.__name__} file: {where}: {first['msg']}", hint) from error


def _refuse_other_kind(content: object, kind: type[StrictModel], place: str) -> None:
    """Refuse a document that says it is something else.

    Raises:
        ArtifactError: It says so.
    """
    field = kind.model_fields.get("artifact")
    found = content.get("artifact") if isinstance(content, dict) else None
    if field is not None and isinstance(found, str) and found != field.default:
        is_, wanted = (name.replace("_", " ") for name in (found, str(field.default)))
        raise ArtifactError(f"{place} is of the kind {is_!r}, not {wanted!r}", "name a file of that kind")


def read_document(path: Path, kind: type[Document]) -> Document:
    """Read one artifact from a file.

    Raises:
        ArtifactError: The file is missing, unreadable, or not a valid `kind`.
    """
    return parse_document(read_text(path), kind, str(path))


def read_text(path: Path) -> str:
    """The text of a document.

    Raises:
        ArtifactError: The file is missing or unreadable, too long, or no UTF-8.
    """
    try:
        require_regular(path)
        if path.stat().st_size > MAX_CHARACTERS:
            raise ArtifactError(f"{path} is longer than any adaptsr document", "check whether it is the right file")
        return path.read_text(encoding="utf-8-sig")  # editors of Windows put a mark before the text
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ArtifactError(f"cannot read {path}: {reason}", "check the path") from error


def read_toml(path: Path, kind: type[Options]) -> Options:
    """Read options from a TOML file.

    Raises:
        ArtifactError: The file is missing, no TOML, or has unknown keys or wrong types; the first fault is named.
    """
    try:
        found = tomllib.loads(read_text(path))
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and lists in lists
        raise ArtifactError(f"{path} is no TOML file: {error}", "write lines such as: iterations = 300") from error
    try:
        # By way of JSON, so that the strict types mean the same as in all other files: lists are tuples there.
        # Dates, which no option is, become something that no type takes.
        return kind.model_validate_json(json.dumps(found, default=lambda date: {"date": str(date)}), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key, hint = str(first["loc"][0]) if first["loc"] else "the whole file", ""
        if first["type"] == "extra_forbidden" and isinstance(first["input"], dict):
            hint = "write options in no table"
        elif first["type"] == "extra_forbidden":
            hint = kind.suggest(key) or f"known keys: {', '.join(kind.model_fields)}"
        raise ArtifactError(f"{path}: {describe_fault(error, key)}", hint) from error
    except UsageError as error:  # of a validator of ours, which names the field
        raise ArtifactError(f"{path}: {error.message}", error.hint) from error


def write_toml(path: Path, document: BaseModel, comment: str) -> None:
    """Write options as TOML, atomically; those that nobody gave are left out.

    Args:
        path: Where to.
        document: The options.
        comment: Its first line, for people.
    """
    said = readable_texts(document.model_dump(mode="json", exclude_none=True, exclude_unset=True))
    write_text(path, f"# {comment}\n" + tomli_w.dumps(said))


def write_document(path: Path, document: StrictModel) -> None:
    """Write one artifact as indented JSON, atomically."""
    write_text(path, document.model_dump_json(indent=1) + "\n")
