"""Options models: one declaration of an option for the command line, a TOML file and a Python call.

A field of such a model is an option. Its type and constraints validate all three ways; its description is its help; its
default is what nobody said, and ``None`` is "not given". `Flag`, `Argument` and `NotOnCommandLine` in its annotation
say how the command line writes it.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from adaptsr_cli.errors import UsageError, nearest

Marker = TypeVar("Marker")


@dataclass(frozen=True)
class Flag:
    """How an option is written where that does not follow from its name.

    Attributes:
        names: ``--lr``, ``-t``; empty: the field's name with ``-`` for ``_``.
        default_text: What the help shows as the default; None: the field's own default.
        environment: Variable that gives it where neither the command line nor a file does.
        metavar: What stands for the value in the help.
        as_text: The command line passes the text on as it is, and a validator of the field reads it.
        one_of_many: Other commands take several by this name: here a second one is refused, where the last one of other
            options counts.
        may_be_empty: Whether an empty text is a value; elsewhere it is taken for a mistake.
    """

    names: tuple[str, ...] = ()
    default_text: str | None = None
    environment: str | None = None
    metavar: str | None = None
    as_text: bool = False
    one_of_many: bool = False
    may_be_empty: bool = False


@dataclass(frozen=True)
class Argument:
    """Marks a field that the command line takes by position."""

    metavar: str | None = None


@dataclass(frozen=True)
class NotOnCommandLine:
    """Marks a field that only Python sets."""


class OptionsModel(BaseModel):
    """Base of all options: immutable, validated, no unknown names.

    Python may write a path as text and a sequence as a list; files are read strictly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _settle_texts(cls, values: Any) -> Any:
        """Refuse empty texts, put the home folder in the place of ``~``, and take choices in any case.

        An empty path would be the current folder, and other options would do nothing. Where a path is wanted the
        command line refuses one itself, since its parser makes a path of it first. A shell knows ``~`` at the
        beginning of a word only, not in ``--run=~/run``, and a TOML file or Python has none.
        """
        if not isinstance(values, Mapping):
            return values
        for name, field in cls.model_fields.items():
            value, flag = values.get(name), marker_of(field, Flag) or Flag()
            texts = value if isinstance(value, list | tuple) else (value,)
            if any(isinstance(text, str) and not text for text in texts) and not flag.may_be_empty:
                hint = "give a value, or leave it out; is a variable of the shell not set?"
                raise UsageError(f"`{name}` is empty", hint)
        choices = _choices_of(cls)
        return {name: _as_choice(with_home(value), choices.get(name, {})) for name, value in values.items()}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The options of these values, by field name.

        Raises:
            UsageError: One is unknown, has the wrong type or is out of range; its field is named.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            hint = cls.suggest(str(first["loc"][0])) if first["type"] == "extra_forbidden" else ""
            raise UsageError(describe_fault(error), hint) from error

    @classmethod
    def resolve(cls, options: object, fields: Mapping[str, Any]) -> Self:
        """An options object, or None, with keywords over it, as a function of the Python API takes them.

        Raises:
            UsageError: No options object; or a keyword is not an option, or its value cannot be used.
        """
        if options is not None and not isinstance(options, OptionsModel):
            marked = (name for name, field in cls.model_fields.items() if marker_of(field, Argument))
            first = next(marked, "data" if "data" in cls.model_fields else "run")
            said = reprlib.repr(options)
            raise UsageError(f"{said} is no {cls.__name__}", f"name what it is: {first}={said}")
        return cls.of(cls.layer({} if options is None else options.given(), fields))

    @classmethod
    def suggest(cls, name: str) -> str:
        """Which option somebody means who names one that is not there, such as its flag; empty where none is near."""
        fields = cls.model_fields.items()
        flags = {flag_of(option, field).lstrip("-").replace("-", "_"): option for option, field in fields}
        return f"did you mean {flags[name]}?" if name in flags else nearest(name, cls.model_fields)

    def given(self) -> dict[str, Any]:
        """What was said, by field name; defaults are left out."""
        return {name: getattr(self, name) for name in self.model_fields_set if getattr(self, name) is not None}

    def to_flags(self, text: str) -> str:
        """A message of the lower layers in the words of the command line."""
        return to_flags(text, type(self))

    @classmethod
    def layer(cls, below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
        """What `above` says, and elsewhere what `below` says; both by field name."""
        return {**below, **above}


@cache
def _choices_of(options: type[OptionsModel]) -> dict[str, dict[str, str]]:
    """Of each option that is a choice between texts, these by their small letters."""
    found = {name: _texts_of(field.annotation) for name, field in options.model_fields.items()}
    return {name: {text.lower(): text for text in texts} for name, texts in found.items() if texts}


def _texts_of(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [text for text in get_args(annotation) if isinstance(text, str)]
    inner = get_args(annotation) if get_origin(annotation) in (Annotated, Union, UnionType) else ()
    return [text for part in inner for text in _texts_of(part)]


def _as_choice(value: Any, choices: Mapping[str, str]) -> Any:
    return choices.get(value.lower(), value) if isinstance(value, str) else value


def with_home(value: Any) -> Any:
    """A path, as text too, or several, with the home folder in the place of a ``~`` at the beginning."""
    if type(value) in (list, tuple):
        return type(value)(map(with_home, value))
    if not (isinstance(value, str | Path) and str(value).startswith("~")):
        return value
    try:
        return type(value)(Path(value).expanduser())
    except RuntimeError:  # nobody of that name
        return value


def describe_fault(error: ValidationError, option: str = "") -> str:
    """The first fault of options in one line.

    Args:
        error: What pydantic found.
        option: What to call the option, where the error is of a value alone; left out, its field in backticks.
    """
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, UsageError):  # of a validator of ours, which says all
        return cause.message
    name = str(first["loc"][0]) if first["loc"] else ""  # of a sequence its name, not the place within
    where = option or (f"`{name}`" if name else "")
    wanted = {"path_type": "a path", "tuple_type": "a text, or a list of texts"}.get(first["type"], first["msg"])
    message = wanted.removeprefix("Input should be ").removeprefix("Value error, ").partition(", unable to")[0]
    if first["type"] == "extra_forbidden":
        return f"{where} is not an option"
    if first["type"] == "missing":
        return f"{where} is required"
    return f"{where} is {_show(first['input'])}; it should be {message}" if where else message


def _show(value: Any) -> str:
    """A value as the user wrote it, in a few words."""
    if isinstance(value, dict) and list(value) == ["date"]:  # of a file, see `read_toml`
        return str(value["date"])
    return f"{value!r}" if isinstance(value, str | int | float | Path) else reprlib.repr(value)


def marker_of(field: FieldInfo, kind: type[Marker]) -> Marker | None:
    """The mark of this kind in a field's annotation; None where it has none."""
    return next((mark for mark in field.metadata if isinstance(mark, kind)), None)


def flag_of(name: str, field: FieldInfo) -> str:
    """The long option of a field: ``val_freq`` -> ``--val-freq``."""
    flag = marker_of(field, Flag)
    long = next((text for text in flag.names if text.startswith("--")), None) if flag else None
    argument = marker_of(field, Argument)
    if argument:
        return argument.metavar or name.upper()
    return long.partition("/")[0] if long else f"--{name.replace('_', '-')}"  # of --half/--no-half the first


def to_flags(text: str, options: type[OptionsModel]) -> str:
    """A message of the lower layers in the words of the command line: `` `val_freq` `` -> ``--val-freq``."""
    fields = options.model_fields

    def replace(found: re.Match[str]) -> str:
        return flag_of(found[1], fields[found[1]]) if found[1] in fields else found[0]

    return re.sub(r"`(\w+)`", replace, text)
