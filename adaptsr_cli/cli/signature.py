"""Commands made from options models, so that an option is declared once."""

from __future__ import annotations

import inspect
import os
import types
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from adaptsr_cli.cli.session import Debug, Json
from adaptsr_cli.errors import AdaptsrError, UsageError
from adaptsr_cli.options import Argument, Flag, NotOnCommandLine, OptionsModel, marker_of, to_flags

Options = TypeVar("Options", bound=OptionsModel)

_CONFIG = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="TOML file of these options, such as a run's training/config.toml; the command line wins.",
        show_default=False,
        readable=False,
    ),
]


def make_command(
    options: type[Options], run: Callable[[Options, bool], None], *, config_file: bool = False
) -> Callable[..., None]:
    """A function that typer can register: its parameters are the fields of the model.

    Args:
        options: The model.
        run: Does the work; called with the options and whether one JSON object is wanted.
        config_file: Whether ``--config FILE`` may give the options too.

    Returns:
        The function; its docstring is that of `run`.
    """

    single = {name for name, field in options.model_fields.items() if (marker_of(field, Flag) or Flag()).one_of_many}

    def command(**values: Any) -> None:
        as_json, _ = values.pop("json"), values.pop("debug")
        file = values.pop("config", None)
        said = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        said = {name: value for name, value in said.items() if value not in (None, ())}
        try:
            for name in single & said.keys():
                said[name] = _only_one(name, said[name])
            below = {} if file is None else _read_config(file, options)
            chosen = options.of(options.layer(options.layer(_read_environment(options), below), said))
            run(chosen, as_json)
        except AdaptsrError as error:
            error.message, error.hint = to_flags(error.message, options), to_flags(error.hint, options)
            raise

    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotate(name, field))
        for name, field in options.model_fields.items()
        if marker_of(field, NotOnCommandLine) is None
    ]
    extra: list[tuple[str, Any, Any]] = [("config", _CONFIG, None)] if config_file else []
    for name, annotation, default in [*extra, ("json", Json, False), ("debug", Debug, False)]:
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    command.__doc__ = run.__doc__
    return command


def value_flags(command: Callable[..., None]) -> dict[str, bool]:
    """The options of a command that take a value, as they are written, and whether that is a path."""
    found: dict[str, bool] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        kind, *marks = get_args(parameter.annotation) if get_origin(parameter.annotation) is Annotated else (None,)
        info = next((mark for mark in marks if isinstance(mark, typer.models.OptionInfo)), None)
        kinds = set(get_args(kind)) if get_origin(kind) in (Union, types.UnionType) else {kind}
        if info is not None and bool not in kinds:
            names = [name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)]
            found |= dict.fromkeys(names, bool(kinds & {Path, list[Path]}))
    return found


def _read_environment(options: type[OptionsModel]) -> dict[str, str]:
    """The options that variables of the environment give, by field name. Typer would put them before a file."""
    variables = {name: (marker_of(field, Flag) or Flag()).environment for name, field in options.model_fields.items()}
    return {name: value for name, variable in variables.items() if variable and (value := os.environ.get(variable))}


def _only_one(name: str, values: tuple[Any, ...]) -> Any:
    """The one value of an option of which other commands take several.

    Raises:
        UsageError: There are more.
    """
    if len(values) > 1:
        raise UsageError(f"`{name}` is given {len(values)} times, and this command takes one", "give the one you mean")
    return values[0]


def _read_config(file: Path, options: type[OptionsModel]) -> dict[str, Any]:
    """The options that a TOML file gives, by field name."""
    from adaptsr_cli.io.documents import read_toml  # here, to keep `--help` quick

    return read_toml(file.expanduser(), options).given()


def _annotate(name: str, field: FieldInfo) -> Any:
    """The annotation that typer understands: the type or None, with help, range and default text."""
    as_text = (marker_of(field, Flag) or Flag()).as_text
    kind: Any = str if as_text else _cli_type(field.annotation)
    low = next((mark.ge for mark in field.metadata if isinstance(mark, Ge)), None)
    high = next((mark.le for mark in field.metadata if isinstance(mark, Le)), None)
    # The stages say why a file cannot be read; the parser says that it "is not readable".
    checks: dict[str, Any] = {"readable": False} | ({"min": low, "max": high} if kind in (int, float) else {})
    argument = marker_of(field, Argument)
    if argument is not None:
        info = typer.Argument(help=field.description, show_default=False, metavar=argument.metavar, **checks)
        return Annotated[kind | None, info]
    flag = marker_of(field, Flag) or Flag()
    names = flag.names or (f"--{name.replace('_', '-')}",)
    kind = list[kind] if flag.one_of_many else kind
    return Annotated[
        kind | None,
        typer.Option(
            *names,
            help=_help_text(field, flag),
            show_default=False,
            metavar=flag.metavar or _metavar(kind),
            case_sensitive=False,
            **checks,
        ),
    ]


def _metavar(kind: Any) -> str | None:
    """What stands for the value of an option that may be repeated; None: typer's own choice."""
    return {list[Path]: "<path>", list[str]: "<str>"}.get(kind) if get_origin(kind) is list else None


def _help_text(field: FieldInfo, flag: Flag) -> str:
    """The description and, where there is one, the default, which the command line itself does not know."""
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    if default is None or default is False or default in ((), ""):
        default = ""
    if field.is_required():
        return f"{field.description}  [required]"
    text = flag.default_text or (",".join(map(str, default)) if isinstance(default, tuple) else str(default))
    marks = {"default": text, "env var": flag.environment}
    return "  ".join([field.description or "", *(f"[{mark}: {value}]" for mark, value in marks.items() if value)])


def _cli_type(annotation: Any) -> Any:
    """``int | None`` -> int, ``tuple[Path, ...]`` -> list[Path]; a flag's bool, a Literal, a path or text as it is."""
    if get_origin(annotation) in (Union, types.UnionType):
        known = [part for part in get_args(annotation) if part is not type(None)]
        if len(known) != 1:
            raise UsageError(f"an option cannot be of several types: {annotation}")
        return _cli_type(known[0])
    if get_origin(annotation) is Annotated:
        return _cli_type(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        return list[_cli_type(get_args(annotation)[0])]  # type: ignore[misc]  # a type made while running
    if get_origin(annotation) is Literal or annotation in (bool, int, float, str, Path):
        return annotation
    raise UsageError(f"an option cannot be of type {annotation}")
