"""The command `adaptsr`: one sub-command a stage. Importing this must stay cheap: no torch, no rich, no pydantic."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated, NoReturn

import typer

from adaptsr_cli import __version__
from adaptsr_cli.cli import adapt, allocate, demo, evaluate, info, merge, models, pair, score, train, upscale
from adaptsr_cli.cli.console import Console
from adaptsr_cli.errors import AdaptsrError, Interrupted, UsageError

app = typer.Typer(
    name="adaptsr",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    # Peers spell it --tile_pad; both are understood.
    context_settings={
        "token_normalize_func": lambda token: token.replace("_", "-"),
        "help_option_names": ["-h", "--help"],
    },
)


# What several processes can do together, started by torchrun.
_TOGETHER = frozenset({"score", "train", "adapt", "eval", "upscale"})
_INTERRUPTED = Interrupted("interrupted", "what was finished is kept; the same command goes on or starts again")


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
    elif os.environ.get("WORLD_SIZE", "1") != "1" and context.invoked_subcommand not in _TOGETHER:
        raise UsageError(
            f"{context.invoked_subcommand} is work for one process", "run it without torchrun, before or after"
        )


for command in (score, allocate, train, merge):
    app.command(command.__name__.rpartition(".")[2])(command.run_command)
app.command("eval")(evaluate.run_command)
for command in (upscale, pair, adapt, demo, info, models):
    app.command(command.__name__.rpartition(".")[2])(command.run_command)


def main() -> None:
    """Runs the command line and exits: 0 all good, 1 something failed, 2 usage, 130 interrupted."""
    console = Console(as_json=False)
    if not sys.warnoptions and "--debug" not in sys.argv:
        # Warnings of libraries name their lines of code; what a user must know is said by notes and warnings of ours.
        warnings.simplefilter("ignore")
    try:
        code = app(standalone_mode=False)
        if code == Interrupted.exit_code:  # typer's answer to Ctrl-C, given without a word
            console.error(_INTERRUPTED)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        fault = _explain(error)
        if not (isinstance(fault, Interrupted) and os.environ.get("RANK", "0") != "0"):  # one of the group says it
            console.error(_signed(fault))
        code = fault.exit_code
    except KeyboardInterrupt:
        console.error(_INTERRUPTED)
        code = Interrupted.exit_code
    _leave(code if isinstance(code, int) else 0)


def _leave(code: int) -> NoReturn:
    """Exits; out of a group by an error at once, for threads that still wait for the others can abort a clean-up."""
    if code and os.environ.get("WORLD_SIZE", "1") != "1":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _signed(fault: AdaptsrError) -> AdaptsrError:
    """Which process of a group speaks, since all of them may."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return fault
    return AdaptsrError(f"process {os.environ.get('RANK', '?')}: {fault.message}", fault.hint)


def _explain(error: Exception) -> AdaptsrError:
    """Any exception as one clear line and what to do next."""
    if isinstance(error, AdaptsrError):
        return error
    if isinstance(error, typer.Abort):
        return _INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader of our output went away (`adaptsr ... | head`); the interpreter must not try to flush to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return AdaptsrError("the reader of the output went away")
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        # A path that nothing here foresaw, such as one that is too long: the system's own words are clear.
        return AdaptsrError(f"{error.strerror}: {str(error.filename)[:200]}", "check the path and its permissions")
    # Errors of the option parser; typer brings its own copy of click, so they have no public class to catch.
    if hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        place = f"`{context.command_path} --help` lists the options" if context else "see `adaptsr --help`"
        return UsageError(error.format_message(), place)
    return AdaptsrError(
        f"unexpected {type(error).__name__}: {error}", "run it again with --debug and report what it prints"
    )
