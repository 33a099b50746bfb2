"""``adaptsr merge``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console
from adaptsr_cli.errors import UsageError

if TYPE_CHECKING:
    from adaptsr_cli.stages.merge.stage import MergeResult


def run_command(
    run: o.Run = o.DEFAULT_RUN,
    adapter: Annotated[
        list[Path] | None,
        typer.Option(
            "--adapter", help="Adapter file; left out: the run's. Several are averaged: repeatable.", show_default=False
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Merged file.", show_default=False)] = None,
    format: Annotated[
        str, typer.Option("--format", help="safetensors; pth with {'params': ...}; or onnx, for any height and width.")
    ] = "safetensors",
    weights: Annotated[
        str | None,
        typer.Option("--weights", help="Share of each adapter's update, such as 0.5,0.5.", show_default="the average"),
    ] = None,
    strength: Annotated[
        float,
        typer.Option("--strength", min=0, max=2, help="From 0, the backbone, to 1, as trained; more overdoes it."),
    ] = 1.0,
    tune: Annotated[
        Path | None,
        typer.Option(
            "--tune", help="Choose weights and strength by PSNR-Y on this folder's held-out pairs.", show_default=False
        ),
    ] = None,
    to_rank: Annotated[
        int | None,
        typer.Option("--to-rank", min=1, help="Truncate the adapter to this rank, by SVD.", show_default=False),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget", help="Truncate the adapter to so many parameters: 10k, 2%, spent best.", show_default=False
        ),
    ] = None,
    adapter_output: Annotated[
        Path | None,
        typer.Option("--adapter-output", help="Write the truncated adapter there too.", show_default=False),
    ] = None,
    device: o.Device = "auto",
    model: o.Model = None,
    weights_dir: o.WeightsDir = None,
    offline: o.Offline = False,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Fold adapters into the backbone's weights: same file layout, same inference cost."""
    from adaptsr_cli.artifacts.card import describe_params
    from adaptsr_cli.cli.parse import choose, model_choice
    from adaptsr_cli.stages.common.run_folder import RunFolder
    from adaptsr_cli.stages.common.truncate import Limit
    from adaptsr_cli.stages.merge.stage import MergeOptions, merge
    from adaptsr_cli.units import parse_budget

    console = Console(as_json=json)
    config = MergeOptions(
        run=RunFolder(run),
        model=model_choice(model, weights_dir, offline),
        adapters=tuple(adapter or ()),
        output=output,
        format=choose("--format", format, ("safetensors", "pth", "onnx")),
        weights=_parse_weights(weights),
        strength=strength,
        tune=tune,
        limit=Limit(to_rank, parse_budget(budget) if budget else None) if to_rank or budget else None,
        adapter_output=adapter_output,
        device=device,
        force=force,
    )
    report = merge(config, console)
    _show_truncation(console, report)
    _show_blend(console, report)
    console.line(
        f"merged {report.sites} sites; largest difference from adapter + backbone on a probe image: "
        f"{report.max_difference:.1e} of the range"
    )
    console.line(describe_params(report.updated_params, report.inference_params))
    for line in report.onnx.describe() if report.onnx else ():
        console.line(line)
    console.line(f"wrote {report.output}" + (f" and {adapter_output}" if adapter_output else ""))
    console.json(
        {
            "output": str(report.output),
            "sites": report.sites,
            "updated_params": report.updated_params,
            "inference_params": report.inference_params,
            "probe_max_difference": report.max_difference,
            "blend": report.blend.model_dump(mode="json") if report.blend else None,
            "kept_share": report.truncation.kept_share if report.truncation else None,
            "onnx": asdict(report.onnx) if report.onnx else None,
        }
    )
    if report.onnx is None:
        console.line(f"next: adaptsr eval --data DIR{o.run_flag(run)}")


def _parse_weights(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise UsageError(f"--weights {text!r} is no list of numbers", "for example --weights 0.5,0.5") from error


def _show_truncation(console: Console, report: MergeResult) -> None:
    """What is left of each site's update."""
    if report.truncation is None:
        return
    cuts = report.truncation.cuts
    console.table(
        "truncated",
        ("site", "rank", "left", "share of the squared update kept"),
        [
            (cut.name, str(cut.rank_before), str(cut.rank), f"{cut.kept / cut.energy if cut.energy else 1:.2%}")
            for cut in cuts
        ],
        numeric=("rank", "left", "share of the squared update kept"),
    )
    console.line(
        f"truncated to {report.truncation.params:,} parameters: {report.truncation.kept_share:.2%} of the squared "
        "updates are kept"
    )


def _show_blend(console: Console, report: MergeResult) -> None:
    """Which adapters went in with which weight, and what a choice has gained."""
    blend, tuned = report.blend, report.tuned
    if blend is None:
        return
    if len(blend.parts) > 1 or tuned is not None or blend.strength != 1:
        parts = ", ".join(f"{part.weight:g} x {part.name}" for part in blend.parts)
        console.line(f"blend: {parts}; strength {blend.strength:g}")
    if tuned is not None:
        if len(tuned.alone) > 1:
            alone = ", ".join(f"{score:.3f}" for score in tuned.alone)
            console.line(f"the adapters alone: {alone} dB PSNR-Y; their average: {tuned.plain:.3f} dB")
        plain = "the average" if len(tuned.alone) > 1 else "the adapter as trained"
        gain = tuned.score - tuned.plain
        console.line(f"tuned: {tuned.score:.3f} dB PSNR-Y, {gain:+.3f} dB over {plain}")
