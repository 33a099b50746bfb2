"""The command `adaptsr`: one sub-command a stage.

A command is imported when it is used, and its options when they are asked for, so that ``adaptsr --help`` needs
neither torch nor pydantic.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
import typer.core
import typer.main

from adaptsr_cli import __version__
from adaptsr_cli.cli.commands import COMMANDS, CommandEntry
from adaptsr_cli.cli.console import Console
from adaptsr_cli.cli.session import Session
from adaptsr_cli.cli.streams import Streams, guarded_streams
from adaptsr_cli.distributed import World, world_from_env
from adaptsr_cli.errors import AdaptsrError, Interrupted, UsageError, nearest

UNREAD = 141
"""Exit code where the reader of stdout went away, as the shell gives it for programs that SIGPIPE ends."""

_INTERRUPTED = Interrupted("interrupted", "what was finished is kept; the same command resumes or starts again")


class LazyCommand(typer.core.TyperCommand):
    """A command whose help line is known, and whose options are read when somebody asks for them.

    Args:
        name: As the user writes it.
        entry: Its record.
    """

    def __init__(self, name: str, entry: CommandEntry) -> None:
        super().__init__(name=name, help=entry.describe(), rich_markup_mode=None)
        self._entry = entry
        self._is_loaded = False
        self._flags: dict[str, bool] = {}

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments."""
        if not self._is_loaded:
            own = typer.Typer(add_completion=False, rich_markup_mode=None)
            from adaptsr_cli.cli.signature import value_flags

            function = self._entry.make()
            self._flags = value_flags(function)
            own.command(self.name)(function)
            made = typer.main.get_command(own)
            self.params, self.callback, self._is_loaded = made.params, made.callback, True
        return super().get_params(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words of the user.

        Raises:
            UsageError: A path is empty, as by a variable that is not set: it would be the current folder. Or a
                word stands without an option.
        """
        self.get_params(ctx)  # reads the options
        _refuse_empty_paths(self._flags, args)
        ctx.allow_extra_args = True  # they are refused here, with a hint
        rest = super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            such_as = f"values go with options, such as {next(iter(self._flags))}"
            hint = f"{such_as}; `{ctx.command_path} --help` lists them"
            raise UsageError(f"{ctx.args[0]!r} stands without an option", hint)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            UsageError: Several processes were started for work of one.
        """
        if not self._entry.in_group and world_from_env().size > 1:
            raise UsageError(f"{self.name} is work for one process", "run it without torchrun, before or after")
        if self._entry.uses_torch:
            _import_torch()
        return super().invoke(ctx)


def _import_torch() -> None:
    """Import torch without looking for garbage meanwhile.

    It makes so many objects that going through them again and again takes a sixth of the time to start. None of them
    ever is garbage, so that they are not looked through later either.
    """
    if "torch" in sys.modules:
        return
    gc.disable()
    try:
        from adaptsr_cli import runtime  # noqa: F401  # which imports it
    finally:
        gc.freeze()
        gc.enable()


def _refuse_empty_paths(flags: dict[str, bool], words: list[str]) -> None:
    """See `LazyCommand.parse_args`.

    Args:
        flags: Options that take a value, and whether that is a path.
        words: What the user wrote.

    Raises:
        UsageError: A path is empty.
    """
    for before, word in zip(["", *words], words, strict=False):
        if word == "":
            flag = before.replace("_", "-")
            empty = flags.get(flag, True)
        else:
            flag = word.removesuffix("=").replace("_", "-")
            empty = word.endswith("=") and flags.get(flag, False)
        if empty:
            what = f"{flag} is empty" if flag in flags else "a path is empty"
            raise UsageError(what, "is a variable of the shell not set? The current folder is: .")


class LazyGroup(typer.core.TyperGroup):
    """The commands of the table."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> LazyCommand | None:
        """The command of that name."""
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else LazyCommand(cmd_name, entry)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the words begin with, and the other words.

        Raises:
            UsageError: There is no such command.
        """
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            hint = nearest(args[0], COMMANDS) or "`adaptsr --help` lists the commands"
            raise UsageError(f"No such command {args[0]!r}", hint)
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="adaptsr",
    cls=LazyGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    # Peers spell it --tile_pad; both are understood.
    context_settings={
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "help_option_names": ["-h", "--help"],
    },
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adaptsr {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Make a super-resolution network yours: low-rank adaptation to a real camera.

    The stages, each reading what the one before left in the run folder:
    score, allocate, train, merge, eval, upscale. `adapt` does all of them, `demo` shows it on embedded data.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


# Loggers of libraries: what one says of damaged files goes into our own errors, the other misses a GPU where none is
# wanted. Done here, since only the command line owns its process.
_SILENCED = ("tifffile", "torch.utils.cpp_extension")


def main() -> None:
    """Run the command line and exits: 0 all good, 1 something failed, 2 usage, 130 interrupted."""
    with guarded_streams() as streams, _ended_by_sigterm():
        code = _run(Console(as_json=False), Session(), streams)
    _exit(code)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Take SIGTERM, by which systems and service managers end a process, as Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    if _group().size > 1:  # torchrun ends its processes so, which must not wait for each other then
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(console: Console, session: Session, streams: Streams) -> int:
    """Run the command and tell of what ended it; the exit code."""
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    if not sys.warnoptions:
        # Warnings of libraries name their lines of code; what a user must know is said by notes and warnings of ours.
        warnings.simplefilter("ignore")
    try:
        code = app(standalone_mode=False, obj=session)
        if code == Interrupted.exit_code:  # typer's answer to Ctrl-C, given without a word
            console.error(_INTERRUPTED)
    except Exception as error:
        if session.debug:
            raise
        fault, world = _to_user_error(error), _group()
        if not isinstance(fault, Interrupted) or world.is_main_process:  # one of the group says it
            console.error(_with_rank(fault, world))
        code = fault.exit_code
    except KeyboardInterrupt:
        console.error(_INTERRUPTED)
        code = Interrupted.exit_code
    code = code if isinstance(code, int) else 0
    lost = streams.lost_results()
    if lost is not None and code == 0:
        console.error(lost)
        code = lost.exit_code
    return UNREAD if streams.are_unread() and code == 0 else code


def _group() -> World:
    """The group that the environment tells of; this process alone where it tells nonsense, which is said elsewhere."""
    try:
        return world_from_env()
    except UsageError:
        return World()


def _exit(code: int) -> NoReturn:
    """Exit; out of a group at once, for torch's threads that still talk to the others can abort the clean-up."""
    if _group().size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _with_rank(fault: AdaptsrError, world: World) -> AdaptsrError:
    """Which process of a group speaks, since all of them may."""
    return fault if world.size == 1 else AdaptsrError(f"process {world.rank}: {fault.message}", fault.hint)


def _describe_parser_error(error: Any) -> str:
    """What the option parser says, with the value that it found, which pydantic's words leave out."""
    text, parameter = str(error.format_message()), getattr(error, "param", None)
    if parameter is not None and "Input should be" in text:
        from pydantic import ValidationError  # here, to keep `--help` quick

        from adaptsr_cli.options import describe_fault

        if isinstance(error.__cause__, ValidationError):
            long = next((name for name in parameter.opts if name.startswith("--")), parameter.opts[-1])
            return describe_fault(error.__cause__, long)
    return text.replace("Value error, ", "")


def _to_user_error(error: Exception) -> AdaptsrError:
    """Any exception as one clear line and what to do next."""
    if isinstance(error, AdaptsrError):
        return error
    if isinstance(error, typer.Abort):
        return _INTERRUPTED
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        # A path that nothing here foresaw, such as one that is too long: the system's own words are clear.
        return AdaptsrError(f"{error.strerror}: {str(error.filename)[:200]}", "check the path and its permissions")
    # Errors of the option parser; typer brings its own copy of click, so they have no public class to catch.
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        place = f"`{context.command_path} --help` lists the options" if context else "see `adaptsr --help`"
        return UsageError(_describe_parser_error(error), place)
    return AdaptsrError(
        f"unexpected {type(error).__name__}: {error}", "run it again with --debug and report what it prints"
    )
