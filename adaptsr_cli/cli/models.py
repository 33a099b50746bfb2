"""``adaptsr models``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.stages.models import ModelsOptions


def run(options: ModelsOptions, as_json: bool) -> None:
    """List the official checkpoints, or download one."""
    from adaptsr_cli.stages.models import run_models
    from adaptsr_cli.units import format_bytes

    console = Console(as_json=as_json, wording=options.to_flags)
    result = run_models(options, progress=console)
    if result.downloaded is not None:
        console.line(f"{options.download} is at {result.downloaded}")
    else:
        rows = [
            (
                entry.name,
                f"{entry.architecture} x{entry.scale}",
                format_bytes(entry.bytes) if entry.bytes else "?",
                entry.licence,
                f"{entry.psnr_y_set5_db:.2f}" if entry.psnr_y_set5_db else "",
                result.describe_place(entry),
            )
            for entry in result.entries
        ]
        console.table("checkpoints", ("name", "network", "size", "licence", "Set5 PSNR-Y", "where"), rows)
        console.line(f"downloads go to {result.weights_dir}; fetch one with `adaptsr models --download NAME`")
    console.json(result.to_json())


def make() -> Callable[..., None]:
    """The function that typer registers."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.models import ModelsOptions

    return make_command(ModelsOptions, run)
