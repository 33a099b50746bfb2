"""``adaptsr upscale``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from adaptsr_cli.cli.console import Console
    from adaptsr_cli.stages.upscale.options import UpscaleOptions
    from adaptsr_cli.stages.upscale.stage import UpscaleResult

_TIMEOUT_S = 30 * 86400.0  # one process of a group may have much less to do than another
_MAX_LINES = 20


def run(options: UpscaleOptions, as_json: bool) -> None:
    """Upscale images of any size and any number with the adapted network."""
    from adaptsr_cli.cli.group import join_group
    from adaptsr_cli.stages.upscale.stage import upscale_and_tell

    # Under torchrun a process that ended with a failed file would take the others with it: they wait for each other.
    with join_group(as_json=as_json, timeout_s=_TIMEOUT_S, wording=options.to_flags) as (world, console):
        result = upscale_and_tell(options, partial(_show, console), progress=console, world=world)
        _show(console, result)
    if result.failed:
        raise typer.Exit(1)


def _show(console: Console, result: UpscaleResult) -> None:
    from adaptsr_cli.units import format_path

    for _, target in result.written[:_MAX_LINES]:
        console.line(f"wrote {format_path(target)}")
    if len(result.written) > _MAX_LINES:
        console.line(f"wrote {len(result.written) - _MAX_LINES} more")
    console.line(result.summary)
    console.json(result.to_json())


def make() -> Callable[..., None]:
    """The command."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.upscale.options import UpscaleOptions

    return make_command(UpscaleOptions, run)
