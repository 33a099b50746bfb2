"""``adaptsr adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.stages.adapt import AdaptReport


def run_command(
    data: o.Data,
    budget: Annotated[str, typer.Option("--budget", help="Trainable parameters: 886k, 1.2M, 8%.")] = "8%",
    run: o.Run = o.DEFAULT_RUN,
    model: o.Model = None,
    val: o.Val = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="Folder of pairs to score on. Left out: the held-out ones.")
    ] = None,
    preset: Annotated[str, typer.Option(help="fast (minutes) or paper (100,000 iterations).")] = "fast",
    iterations: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.", show_default=False)] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Time budget.", show_default=False)] = None,
    batch: o.Batch = None,
    patch: o.Patch = None,
    lr: Annotated[float | None, typer.Option(min=1e-8, max=1.0, help="Learning rate.", show_default=False)] = None,
    degrade: o.Degrade = None,
    metrics: o.Metrics = "psnr,ssim,lpips_squeeze",
    weights_dir: o.WeightsDir = None,
    offline: o.Offline = False,
    device: o.Device = "auto",
    precision: o.PrecisionChoice = "auto",
    seed: o.Seed = 0,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Score, allocate, train, merge and evaluate in one call."""
    from adaptsr_cli.cli.choices import choose, model_choice
    from adaptsr_cli.metrics.protocol import parse_metrics
    from adaptsr_cli.stages.adapt import AdaptConfig, adapt
    from adaptsr_cli.stages.run_folder import RunFolder
    from adaptsr_cli.stages.train import TrainOptions
    from adaptsr_cli.units import parse_budget

    console = Console(as_json=json)
    training = TrainOptions(
        run=RunFolder(run),
        model=model_choice(model, weights_dir, offline),
        data=data,
        val=val,
        preset=choose("--preset", preset, ("fast", "paper")),
        iterations=iterations,
        minutes=minutes,
        batch=batch,
        patch_px=patch,
        lr=lr,
        degrade=degrade,
        device=device,
        precision=precision,
        seed=seed,
        force=force,
    )
    config = AdaptConfig(training, parse_budget(budget), parse_metrics(metrics), test=test)
    show_adaptation(console, adapt(config, console))
    console.line(f"next: adaptsr upscale in.png{o.run_flag(run)}")


def show_adaptation(console: Console, report: AdaptReport) -> None:
    """Before and after, and where everything lies."""
    from adaptsr_cli.cli.evaluate import show_evaluation
    from adaptsr_cli.units import format_params, format_seconds

    show_evaluation(console, report.evaluation)
    before, after = (model.metrics.get("psnr_y_db") for model in report.evaluation.models)
    if before is not None and after is not None:
        share = report.rank_map.total_params / report.rank_map.backbone.params
        console.line(
            f"adapted: {before:.2f} -> {after:.2f} dB PSNR-Y ({after - before:+.2f}) by "
            f"{format_params(report.training.params)} trained parameters ({share:.1%}) in "
            f"{format_seconds(report.training.seconds)} of training; the merged model costs nothing more"
        )
    names = "saliency.json, rank_map.json, adapter.safetensors, merged.safetensors, eval.json, comparison.png"
    console.line(f"in {report.run.root}: {names}, {report.example.relative_to(report.run.root)}")
