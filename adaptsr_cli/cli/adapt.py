"""``adaptsr adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.stages.adapt import AdaptResult


def run_command(
    data: o.Data = None,
    hr: o.Hr = None,
    list_file: o.ListFile = None,
    align: o.Align = None,
    budget: Annotated[str, typer.Option("--budget", help="Trainable parameters: 886k, 1.2M, 8%.")] = "8%",
    run: o.Run = o.DEFAULT_RUN,
    model: o.Model = None,
    val: o.Val = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="Folder of pairs to score on. Left out: the held-out ones.")
    ] = None,
    config: o.Config = None,
    preset: o.Preset = None,
    iterations: o.Iterations = None,
    minutes: o.Minutes = None,
    batch: o.Batch = None,
    accumulate: o.Accumulate = None,
    patch: o.Patch = None,
    lr: o.LrOrRate = None,
    objective: o.Objective = None,
    ema: o.Ema = None,
    patience: o.Patience = None,
    degrade: o.Degrade = None,
    cache_ram: o.CacheRam = None,
    metrics: o.Metrics = "psnr,ssim,lpips_squeeze",
    tensorboard: o.TensorBoard = None,
    checkpointing: o.Checkpointing = None,
    weights_dir: o.WeightsDir = None,
    offline: o.Offline = False,
    device: o.Device = "auto",
    precision: o.PrecisionOrNone = None,
    seed: o.SeedOrNone = None,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Score, allocate, train, merge and evaluate in one call."""
    from adaptsr_cli.cli.group import join_group
    from adaptsr_cli.cli.parse import cache_sizes, make_request
    from adaptsr_cli.metrics.protocol import parse_metrics
    from adaptsr_cli.stages.adapt import AdaptOptions, adapt
    from adaptsr_cli.stages.common.run_folder import RunFolder
    from adaptsr_cli.stages.train.options import TrainOptions
    from adaptsr_cli.units import parse_budget

    given = {
        "data": data, "hr": hr, "list": list_file, "align": align, "model": model, "val": val, "preset": preset,
        "iterations": iterations, "minutes": minutes, "batch": batch, "accumulate": accumulate, "patch": patch,
        "lr": lr, "objective": objective, "ema": ema, "patience": patience, "degrade": degrade,
        "tensorboard": tensorboard, "checkpointing": checkpointing, "precision": precision, "seed": seed,
    }  # fmt: skip
    request = make_request(given, config)
    with join_group(as_json=json) as (world, console):
        training = TrainOptions.of_request(
            request,
            run=RunFolder(run),
            weights_dir=o.find_weights_dir(weights_dir),
            offline=offline,
            device=device,
            force=force,
            cache=cache_sizes(cache_ram),
        )
        settings = AdaptOptions(training, parse_budget(budget), parse_metrics(metrics), test=test)
        show_adaptation(console, adapt(settings, console, world))
        console.line(f"next: adaptsr upscale in.png{o.run_flag(run)}")


def show_adaptation(console: Console, report: AdaptResult) -> None:
    """Before and after, and where everything lies."""
    from adaptsr_cli.cli.evaluate import show_evaluation
    from adaptsr_cli.units import format_params, format_seconds

    show_evaluation(console, report.evaluation)
    before, after = (model.metrics.get("psnr_y_db") for model in report.evaluation.models)
    if before is not None and after is not None:
        share = report.rank_map.total_params / report.rank_map.backbone.params
        console.line(
            f"adapted: {before:.2f} -> {after:.2f} dB PSNR-Y ({after - before:+.2f}) by "
            f"{format_params(report.training.card.trainable_params)} trained parameters ({share:.1%}) in "
            f"{format_seconds(report.training.card.wall_s)} of training; the merged model costs nothing more"
        )
    names = ["saliency.json, rank_map.json, adapter.safetensors, merged.safetensors, eval.json, comparison.png"]
    names.append(report.run.report.name)
    names += [str(report.example.relative_to(report.run.root))] if report.example else []
    console.line(f"in {report.run.root}: {', '.join(names)}")
