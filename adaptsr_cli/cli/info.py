"""``adaptsr info``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console


def run_command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Artifacts of a run, or checkpoints.")],
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Tell what a file is: any artifact of a run, or a checkpoint."""
    from adaptsr_cli.stages.info import describe_file

    console = Console(as_json=json)
    described = [describe_file(path) for path in files]
    for facts in described:
        console.table("", ("", ""), [(name, value) for name, value in facts.items()])
    console.json({"files": described})
