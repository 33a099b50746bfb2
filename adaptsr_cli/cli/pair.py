"""``adaptsr pair``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptsr_cli.cli import options as o

_SHOWN = 40


def run_command(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(help="WIDE and TELE, or folders of shots.", show_default=False),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pairs.")] = Path("pairs"),
    list_file: Annotated[
        Path | None,
        typer.Option("--list", help="Table of shots: a line is WIDE, TELE (comma or tab).", show_default=False),
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option("--scale", min=2, max=8, help="HR px per LR px; left out: the network's.", show_default=False),
    ] = None,
    keep_colour: Annotated[
        bool, typer.Option("--keep-colour", help="Leave HR in the tele photograph's colours; else fitted to LR's.")
    ] = False,
    block: Annotated[int, typer.Option("--block", min=48, max=512, help="Side of a pair's LR file; by 16.")] = 96,
    run: o.Run = o.DEFAULT_RUN,
    model: o.Model = None,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Make training pairs of your own camera: photographs of one scene at two focal lengths."""
    from adaptsr_cli.cli.console import Console
    from adaptsr_cli.errors import UsageError
    from adaptsr_cli.stages.pair.stage import PairOptions, require_pairs, run_pair
    from adaptsr_cli.stages.run_folder import RunFolder, expected_scale

    console = Console(as_json=json)
    if block % 16:
        raise UsageError(f"--block {block} is no multiple of 16", "for example --block 96")
    wanted = scale or expected_scale(RunFolder(run), model)
    if wanted is None:
        raise UsageError(f"the scale of {model} is not known before it is loaded", "give --scale")
    options = PairOptions(
        places=tuple(photos or ()), list_file=list_file, output=output, scale=wanted, keep_colour=keep_colour,
        block_px=block, force=force,
    )  # fmt: skip
    result = run_pair(options, progress=console)
    shots = result.record.shots
    console.table(
        "",
        ("shot", "pairs", "zoom", "off, median px", "off, 90 % px", "verdict"),
        [
            (
                shot.name,
                f"{shot.kept}" if shot.accepted else "refused",
                f"{shot.mapping.zoom:.2f}" if shot.mapping else "",
                f"{shot.residual.kept_px[0]:.3f}" if shot.residual else "",
                f"{shot.residual.kept_px[1]:.3f}" if shot.residual else "",
                shot.verdict,
            )
            for shot in shots[:_SHOWN]
        ],
        numeric=("pairs", "zoom", "off, median px", "off, 90 % px"),
    )
    if len(shots) > _SHOWN:
        console.line(f"and {len(shots) - _SHOWN} more")
    console.line(f"{result.record.describe()}, in {output}")
    console.line(f"look at {result.page}")
    console.json(result.to_json())
    fault = require_pairs(result)
    if fault is not None:
        console.line(fault)
        raise typer.Exit(1)
    console.line(f"next: adaptsr adapt --data {output}{o.run_flag(run)}")
