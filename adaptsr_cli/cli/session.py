"""The session of one call of the command line: what `main` and the commands tell each other. Cheap to import."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass
class Session:
    """One call of the command line.

    Attributes:
        debug: Errors show their traceback.
    """

    debug: bool = False


def _switch_debug_on(context: typer.Context, wanted: bool) -> bool:
    """Let errors and the warnings of libraries through, which `main` otherwise turns into one line or hides."""
    if wanted and isinstance(context.obj, Session):
        context.obj.debug = True
        warnings.simplefilter("default")
    return wanted


Debug = Annotated[
    bool, typer.Option("--debug", callback=_switch_debug_on, is_eager=True, help="Show the traceback of an error.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
