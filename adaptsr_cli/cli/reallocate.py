"""``adaptsr reallocate``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.stages.allocate.options import ReallocateOptions


def run(options: ReallocateOptions, as_json: bool) -> None:
    """Spend a budget anew by what a trained adapter has learnt; `train` then continues it."""
    from adaptsr_cli.cli.allocate import show_rank_map
    from adaptsr_cli.cli.text import suggest
    from adaptsr_cli.stages.allocate.reallocate import run_reallocate
    from adaptsr_cli.stages.common.run_folder import RunFolder
    from adaptsr_cli.units import plural

    console = Console(as_json=as_json, wording=options.to_flags)
    result = run_reallocate(options, progress=console)
    show_rank_map(console, result.rank_map)
    console.line(
        f"{plural(result.pruned, 'rank')} taken away, {result.grown:,} given; training continues from "
        f"{result.kept_share:.2%} of the adapter's squared updates"
    )
    console.line(f"wrote {result.path}, {result.start.name} and {result.heatmap.name}")
    console.line(suggest("train", "--data", "DIR", run=options.run, replaces=RunFolder(options.run).training.state))
    console.json(result.to_json())


def make() -> Callable[..., None]:
    """The function that typer registers."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.allocate.options import ReallocateOptions

    return make_command(ReallocateOptions, run)
