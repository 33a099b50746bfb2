"""``adaptsr demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console


def run_command(
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Folder for everything; left out: a new adaptsr-demo.", show_default=False),
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.", show_default=False)] = None,
    weights_dir: o.WeightsDir = None,
    device: o.Device = "auto",
    seed: o.Seed = 0,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Show the whole job on photographs that are here already; under two minutes on a CPU."""
    from adaptsr_cli.backbones.catalogue import weights_dir as find_weights_dir
    from adaptsr_cli.cli.adapt import show_adaptation
    from adaptsr_cli.stages.adapt import DemoConfig, demo
    from adaptsr_cli.stages.common.run_folder import RunFolder

    console = Console(as_json=json)
    folder = run or _new_folder(Path("adaptsr-demo"))
    config = DemoConfig(
        run=RunFolder(folder),
        weights_dir=find_weights_dir(weights_dir),
        device=device,
        seed=seed,
        iterations=iterations,
        force=force,
    )
    report = demo(config, console)
    show_adaptation(console, report)
    console.line(
        f"next: adaptsr upscale YOUR_PHOTO.png --run {folder}   (your own camera: adaptsr adapt --data YOUR_PAIRS/)"
    )


def _new_folder(wanted: Path) -> Path:
    """`wanted`, or the first of ``wanted-2``, ``wanted-3`` ... that does not exist."""
    folder, number = wanted, 2
    while folder.exists():
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder
