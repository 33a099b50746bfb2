"""``adaptsr upscale``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptsr_cli.cli import options as o

_PATIENCE_S = 30 * 86400.0  # one process of a group may have much less to do than another


def run_command(
    images: Annotated[list[Path] | None, typer.Argument(help="Images or folders.", show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File or folder. Left out: beside the input.", show_default=False),
    ] = None,
    run: o.Run = o.DEFAULT_RUN,
    model: o.Model = None,
    outscale: Annotated[
        float | None, typer.Option("--outscale", "-s", min=0.1, max=32, help="Final factor.", show_default=False)
    ] = None,
    tile: o.Tile = "auto",
    tile_pad: Annotated[
        int | None,
        typer.Option(
            "--tile-pad", min=0, help="LR px around a tile; left out: what the network needs.", show_default=False
        ),
    ] = None,
    suffix: Annotated[
        str | None, typer.Option("--suffix", help="Put behind the name; left out: _x4.", show_default=False)
    ] = None,
    ext: Annotated[str, typer.Option("--ext", help="auto (as the input), png, jpg, webp, tif ...")] = "auto",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF.")] = 95,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Go into sub-folders.")] = False,
    list_file: Annotated[
        str | None,
        typer.Option("--list", help="Text file of paths, one a line; - for the standard input.", show_default=False),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and upscale what comes into the folders; needs --output.")
    ] = False,
    adapter: Annotated[
        list[Path] | None,
        typer.Option("--adapter", help="Adapter to add to the backbone, in memory. Repeatable.", show_default=False),
    ] = None,
    strength: Annotated[
        float, typer.Option("--strength", min=0, max=1, help="From 0, the backbone, to 1, the adapted model.")
    ] = 1.0,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average over 8 turned and mirrored copies: 8 times the work.")
    ] = False,
    compile_: Annotated[
        str,
        typer.Option("--compile", help="off, or auto: try the network compiled on long runs, and keep what is faster."),
    ] = "off",
    fp32: Annotated[bool, typer.Option("--fp32", help="The same as --precision fp32.")] = False,
    weights_dir: o.WeightsDir = None,
    offline: o.Offline = False,
    device: o.Device = "auto",
    precision: o.PrecisionChoice = "auto",
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Upscale images of any size and any number with the adapted network."""
    from adaptsr_cli.cli.group import join_group
    from adaptsr_cli.cli.parse import choose, model_choice
    from adaptsr_cli.stages.common.run_folder import RunFolder
    from adaptsr_cli.stages.upscale.stage import UpscaleOptions, join_reports, upscale

    # Under torchrun a process that ended with a failed file would take the others with it: they wait for each other.
    with join_group(as_json=json, timeout_s=_PATIENCE_S) as (world, console):
        config = UpscaleOptions(
            run=RunFolder(run),
            model=model_choice(model, weights_dir, offline),
            inputs=tuple(images or ()),
            output=output,
            outscale=outscale,
            tile_px=o.parse_tile(tile),
            pad_px=tile_pad,
            suffix=suffix,
            ext=ext,
            quality=quality,
            recursive=recursive,
            list_file=list_file,
            watch=watch,
            adapters=tuple(adapter or ()),
            strength=strength,
            ensemble=ensemble,
            compile_blocks=choose("--compile", compile_, ("auto", "off")) == "auto",
            shard=(world.rank, world.size),
            device=device,
            precision="fp32" if fp32 else precision,
            force=force,
        )
        own, *others = world.gather(upscale(config, console))
        for source, reason in (failure for other in others for failure in other.failed):
            console.warn(f"{source}: {reason}")
        report = join_reports([own, *others])
        for _, target in report.written[:20]:
            console.line(f"wrote {target}")
        if len(report.written) > 20:
            console.line(f"wrote {len(report.written) - 20} more")
        console.line(report.summary)
        console.json(
            {
                "written": [{"input": str(source), "output": str(target)} for source, target in report.written],
                "skipped": [str(path) for path in report.skipped],
                "kept": [str(path) for path in report.kept],
                "failed": [{"input": str(source), "reason": reason} for source, reason in report.failed],
            }
        )
    if report.failed:
        raise typer.Exit(1)
