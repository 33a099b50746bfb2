"""``adaptsr pair``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.stages.pair.options import PairOptions

_MAX_SHOWN = 40
_COLUMNS = ("shot", "pairs", "zoom", "off, median px", "off, 90 % px", "verdict")


def run(options: PairOptions, as_json: bool) -> None:
    """Make training pairs of your own camera: photographs of one scene at two focal lengths."""
    from adaptsr_cli.cli.text import suggest
    from adaptsr_cli.stages.pair.stage import require_pairs, run_pair

    console = Console(as_json=as_json, wording=options.to_flags)
    result = run_pair(options, progress=console)
    shots = result.record.shots
    rows = [
        (
            shot.name,
            f"{shot.kept}" if shot.accepted else "refused",
            f"{shot.mapping.zoom:.2f}" if shot.mapping else "",
            f"{shot.residual.kept_px[0]:.3f}" if shot.residual else "",
            f"{shot.residual.kept_px[1]:.3f}" if shot.residual else "",
            shot.verdict,
        )
        for shot in shots[:_MAX_SHOWN]
    ]
    rows += [(name, "refused", "", "", "", reason) for name, reason in result.unreadable.items()][:_MAX_SHOWN]
    console.table("", _COLUMNS, rows, numeric=_COLUMNS[1:-1])
    if len(shots) > _MAX_SHOWN:
        console.line(f"and {len(shots) - _MAX_SHOWN} more")
    console.line(f"{result.record.describe()}, in {result.output}")
    console.line(f"look at {result.page}")
    console.json(result.to_json())
    fault = require_pairs(result)
    if fault is not None:
        console.line(fault)
        raise typer.Exit(1)
    console.line(suggest("adapt", "--data", result.output, run=options.run))


def make() -> Callable[..., None]:
    """The command."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.pair.options import PairOptions

    return make_command(PairOptions, run)
