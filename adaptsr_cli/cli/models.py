"""``adaptsr models``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.backbones.catalogue import CatalogueEntry


def run_command(
    download: Annotated[
        str | None, typer.Option("--download", help="Fetch this model into the weights folder.", show_default=False)
    ] = None,
    weights_dir: o.WeightsDir = None,
    offline: o.Offline = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """List the official checkpoints, or download one."""
    from adaptsr_cli.backbones.catalogue import find_model, read_catalogue
    from adaptsr_cli.backbones.catalogue import weights_dir as find_weights_dir
    from adaptsr_cli.units import format_bytes

    console = Console(as_json=json)
    folder = find_weights_dir(weights_dir)
    if download is not None:
        path = find_model(download, weights_dir=folder, offline=offline, progress=console)
        console.line(f"{download} is at {path}")
        console.json({"name": download, "path": str(path)})
        return
    entries = read_catalogue()
    rows = [
        (
            entry.name,
            f"{entry.architecture} x{entry.scale}",
            format_bytes(entry.bytes) if entry.bytes else "?",
            entry.licence,
            f"{entry.psnr_y_set5_db:.2f}" if entry.psnr_y_set5_db else "",
            _where(entry, folder),
        )
        for entry in entries
    ]
    console.table("checkpoints", ("name", "network", "size", "licence", "Set5 PSNR-Y", "where"), rows)
    console.line(f"downloads go to {folder}; fetch one with `adaptsr models --download NAME`")
    console.json({"weights_dir": str(folder), "models": [entry.model_dump(mode="json") for entry in entries]})


def _where(entry: CatalogueEntry, folder: Path) -> str:
    """Whether the file is at hand, and if not how it can be had."""
    from adaptsr_cli.backbones.catalogue import bundled_weights_dir

    if (bundled_weights_dir() / entry.file).exists():
        return "embedded"
    if (folder / entry.file).exists():
        return "in the folder"
    return "by --download" if entry.url else f"by hand: {entry.page}"
