"""Generator of the reference pages that follow from the code: commands, options and artifacts.

    python docs/generate.py

writes ``docs/reference/{cli,config,artifacts}.md``. ``tests/test_docs.py`` fails while a committed page is stale.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from typer.testing import CliRunner

import adaptsr_cli
from adaptsr_cli.artifacts.kinds import ARTIFACTS
from adaptsr_cli.cli.app import app
from adaptsr_cli.options import Argument, Flag, NotOnCommandLine, OptionsModel, flag_of, marker_of

REFERENCE: Final = Path(__file__).resolve().parent / "reference"
_NOTE: Final = "<!-- Written by docs/generate.py: change the code, then run it. -->"

_STORAGE: Final = {
    "json": "a JSON file",
    "json lines": "a text file of one JSON object a line",
    "tensors": "the metadata of a safetensors file, under the key `adaptsr`",
    "image": "the metadata of an image file",
}
_OPTIONS: Final = (
    "Score",
    "Allocate",
    "Reallocate",
    "Train",
    "Truncate",
    "Merge",
    "Evaluate",
    "Upscale",
    "Export",
    "Adapt",
    "Pair",
)


def commands_page() -> str:
    """``cli.md``: what ``--help`` of every command prints."""
    lines = [
        "# Commands",
        _NOTE,
        "Options may be spelt with `-` or `_`. The [options](config.md) of the stages are also arguments in Python.",
        _help(),
    ]
    names = re.findall(r"^  ([a-z]+)", _help().partition("Commands:")[2], flags=re.MULTILINE)
    for name in names:
        lines += [f"## adaptsr {name}", _help(name)]
    return _join(lines)


def _help(*words: str) -> str:
    """The help of a command in a code block, as it is printed on a terminal of 100 columns."""
    result = CliRunner().invoke(app, [*words, "--help"], prog_name="adaptsr", env={"COLUMNS": "100", "TERM": "dumb"})
    if result.exit_code:
        raise SystemExit(f"adaptsr {' '.join(words)} --help failed: {result.output}")
    return f"```text\n{result.output.strip()}\n```"


def options_page() -> str:
    """``config.md``: the fields of every options model, which are flags, keys of ``config.toml`` and arguments."""
    lines = [
        "# Options and `config.toml`",
        _NOTE,
        "An option is declared once, as a field of an options model. The field is an argument in Python, a flag on the "
        "command line, and for `train` and `adapt` a key in the TOML file of `--config`. `training/config.toml` in the "
        "run folder is such a file, with every option resolved:",
        '```toml\ndata = ["iphone/"]\niterations = 300\nlearning_rate = 0.002\n```',
        "```sh\nadaptsr train --config adaptsr-run/training/config.toml --iterations 600 --run second\n```",
        "The command line takes precedence over the file. Unknown keys, wrong types and values out of range are "
        "refused. `None` means that nothing was said: the run folder or the preset decides.",
    ]
    for name in _OPTIONS:
        model = getattr(adaptsr_cli, f"{name}Options")
        lines += [f"## {model.__name__}", _text(inspect.getdoc(model) or "").split("\n\n")[0], _fields(model)]
    return _join(lines)


def _fields(model: type[OptionsModel]) -> str:
    rows = []
    for name, field in model.model_fields.items():
        hidden = marker_of(field, NotOnCommandLine) is not None
        flag = "Python only" if hidden else f"`{flag_of(name, field)}`"
        mark = marker_of(field, Flag)
        if field.is_required():
            default = "required"
        elif mark and mark.default_text:
            default = mark.default_text
        else:
            default = f"`{_plain(field.default)}`"
        kind = "argument" if marker_of(field, Argument) else flag
        rows.append(
            (
                f"`{name}`",
                kind if kind == flag else f"{flag} (by position)",
                _cell(default),
                _cell(field.description or ""),
            )
        )
    return _table(("field", "flag", "default", "meaning"), rows)


def _plain(value: Any) -> str:
    """A default as Python writes it; a path as text."""
    return repr(str(value)) if isinstance(value, Path) else repr(value)


def artifacts_page() -> str:
    """``artifacts.md``: the fields of every artifact by its JSON schema."""
    lines = [
        "# Artifacts",
        _NOTE,
        "Everything a command makes lies in the run folder. An artifact is a JSON file, or JSON in the metadata of a "
        "safetensors or image file. All are validated when they are read: unknown keys, wrong types and contradictory "
        "contents are refused. All writes are atomic. Most artifacts carry `artifact` (their kind), `format_version`, "
        "`backbone` (the identity of the weights they belong to) and `provenance` (what made them). An artifact that "
        "was made for other weights is refused, and the message names both.",
    ]
    parts: dict[str, Any] = {}
    for kind in ARTIFACTS:
        schema = kind.model.model_json_schema(mode="serialization")
        parts |= schema.pop("$defs", {})
        lines += [f"## {kind.file}", *_described(kind.model, schema), f"Stored as {_STORAGE[kind.storage]}."]
    lines += ["## Parts of artifacts"]
    known = {model.__name__: model for model in _all_models(BaseModel)}
    for name, schema in sorted(parts.items()):
        lines += [f"### {name}", *_described(known[name], schema)]
    return _join(lines)


def _all_models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from _all_models(model)


def _described(model: type[BaseModel], schema: dict[str, Any]) -> Iterator[str]:
    """Docstring and table of fields of a model; what a field means is told in the docstring's ``Attributes:``."""
    document = inspect.cleandoc(model.__doc__ or "")
    about, _, attributes = document.partition("Attributes:")
    meanings = _attributes(attributes)
    yield _text(about)
    required = set(schema.get("required", ()))
    rows = [
        (
            f"`{name}`",
            _cell(_kind(part)) + ("" if name in required or "const" in part else " (optional)"),
            _cell(meanings.get(name) or part.get("description", "")),
        )
        for name, part in schema.get("properties", {}).items()
    ]
    if rows:
        yield _table(("field", "type", "meaning"), rows)


def _attributes(text: str) -> dict[str, str]:
    """Name -> meaning of a docstring's ``Attributes:`` section."""
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in entries}


def _kind(part: dict[str, Any]) -> str:
    """A JSON schema as a short text: ``list of SiteRank``, ``integer from 1``, ``string or null``."""
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in part:
        return " or ".join(_kind(one) for one in part["anyOf"])
    if "const" in part:
        return f"`{part['const']!r}`".replace("'", '"')
    if "enum" in part:
        return ", ".join(f"`{one}`" for one in part["enum"])
    kind = part.get("type", "any")
    if kind == "array":
        if "prefixItems" in part:
            return "list of " + ", ".join(_kind(one) for one in part["prefixItems"])
        return f"list of {_kind(part.get('items', {}))}"
    if kind == "object":
        values = part.get("additionalProperties")
        return f"object of {_kind(values)}" if isinstance(values, dict) else "object"
    low = part.get("minimum", part.get("exclusiveMinimum"))
    word = "above" if "exclusiveMinimum" in part else "from"
    return str(kind) + (f" {word} {low:g}" if low is not None else "")


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.replace("|", "\\|").replace("``", "`").split())


def _text(text: str | None) -> str:
    """A docstring as Markdown."""
    return inspect.cleandoc(text or "").replace("``", "`").replace("\f", "").strip()


def _join(blocks: Iterable[str]) -> str:
    return "\n\n".join(block for block in blocks if block) + "\n"


PAGES: Final[dict[str, Callable[[], str]]] = {
    "cli.md": commands_page,
    "config.md": options_page,
    "artifacts.md": artifacts_page,
}


def main() -> int:
    """Writes every page."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
