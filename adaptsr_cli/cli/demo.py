"""``adaptsr demo``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.stages.adapt.options import DemoOptions


def run(options: DemoOptions, as_json: bool) -> None:
    """Show the whole job on photographs that are here already; under two minutes on a CPU."""
    from adaptsr_cli.cli.adapt import show_adaptation
    from adaptsr_cli.stages.adapt.stage import run_demo

    console = Console(as_json=as_json, wording=options.to_flags)
    result = run_demo(options, progress=console)
    show_adaptation(console, result)
    console.line(
        f"next: adaptsr upscale YOUR_PHOTO.png --run {result.run.root}   (your own camera: adaptsr adapt --data "
        "YOUR_PAIRS/)"
    )


def make() -> Callable[..., None]:
    """The function that typer registers."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.adapt.options import DemoOptions

    return make_command(DemoOptions, run)
