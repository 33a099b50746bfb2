"""``adaptsr info``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.stages.info.options import InfoOptions


def run(options: InfoOptions, as_json: bool) -> None:
    """Tell what a file is: an image, any artifact of a run, a whole run folder, or a checkpoint."""
    from adaptsr_cli.stages.info.stage import run_info

    console = Console(as_json=as_json, wording=options.to_flags)
    result = run_info(options, progress=console)
    for number, facts in enumerate(result.files):
        if number:
            console.line()
        console.table("", ("", ""), [(name, options.to_flags(text)) for name, text in facts.items()])
    console.json(result.to_json())
    if result.failed:
        raise typer.Exit(1)


def make() -> Callable[..., None]:
    """The command."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.info.options import InfoOptions

    return make_command(InfoOptions, run)
