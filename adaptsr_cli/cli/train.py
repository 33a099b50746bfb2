"""``adaptsr train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.stages.train.stage import TrainResult


def run_command(
    data: o.Data = None,
    hr: o.Hr = None,
    list_file: o.ListFile = None,
    align: o.Align = None,
    run: o.Run = o.DEFAULT_RUN,
    model: o.Model = None,
    val: o.Val = None,
    rank_map: Annotated[Path | None, typer.Option(help="Rank map; left out: the run's.", show_default=False)] = None,
    config: o.Config = None,
    preset: o.Preset = None,
    iterations: o.Iterations = None,
    minutes: o.Minutes = None,
    batch: o.Batch = None,
    accumulate: o.Accumulate = None,
    patch: o.Patch = None,
    lr: o.LrOrRate = None,
    schedule: o.Schedule = None,
    alpha: Annotated[
        float | None, typer.Option(min=1e-6, help="Numerator of the scale of low-rank updates.", show_default=False)
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="Scale of low-rank updates: alpha/r or alpha/sqrt(r).", show_default="alpha/r")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Start of low-rank factors: default, gradient, pissa, or adapter (go on from allocate --from).",
            show_default="adapter where the rank map has one, gradient where `score` has left its directions",
        ),
    ] = None,
    conv_factorization: Annotated[
        str | None,
        typer.Option(help="Low-rank updates of convolutions: 1x1-kxk, kxk-1x1 or single.", show_default="1x1-kxk"),
    ] = None,
    shira_mask: Annotated[
        str | None,
        typer.Option(help="Weights that shira trains: magnitude, random or snip.", show_default="magnitude"),
    ] = None,
    lora_plus: Annotated[
        float | None, typer.Option(min=1, help="B factors learn so many times faster (LoRA+).", show_default="1")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="What is trained: lora, full, bitfit, dora, shira, difffit, arc or rasa.", show_default="lora"
        ),
    ] = None,
    objective: o.Objective = None,
    ema: o.Ema = None,
    patience: o.Patience = None,
    degrade: o.Degrade = None,
    cache_ram: o.CacheRam = None,
    val_freq: o.ValFreq = None,
    save_freq: o.SaveFreq = None,
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
    """Train adapters at the planned sites; the same command resumes."""
    from adaptsr_cli.cli.group import join_group
    from adaptsr_cli.cli.parse import cache_sizes, make_request
    from adaptsr_cli.stages.common.run_folder import RunFolder
    from adaptsr_cli.stages.train.options import TrainOptions
    from adaptsr_cli.stages.train.stage import train

    given = {
        "data": data, "hr": hr, "list": list_file, "align": align, "model": model, "val": val, "rank_map": rank_map,
        "preset": preset, "iterations": iterations, "minutes": minutes, "batch": batch, "accumulate": accumulate,
        "patch": patch, "lr": lr, "schedule": schedule, "alpha": alpha, "scale": scale, "init": init,
        "conv_factorization": conv_factorization, "shira_mask": shira_mask, "lora_plus": lora_plus, "method": method,
        "objective": objective,
        "ema": ema, "patience": patience, "degrade": degrade, "val_freq": val_freq, "save_freq": save_freq,
        "tensorboard": tensorboard, "checkpointing": checkpointing, "precision": precision, "seed": seed,
    }  # fmt: skip
    request = make_request(given, config)
    with join_group(as_json=json) as (world, console):
        options = TrainOptions.of_request(
            request,
            run=RunFolder(run),
            weights_dir=o.find_weights_dir(weights_dir),
            offline=offline,
            device=device,
            force=force,
            cache=cache_sizes(cache_ram),
        )
        show_training(console, train(options, console, world))
        console.line(f"next: adaptsr merge{o.run_flag(run)}")


def show_training(console: Console, report: TrainResult) -> None:
    """What the run came to and what it cost, in a few lines and a file name."""
    card = report.card
    console.line(
        f"held-out PSNR-Y {card.backbone_psnr_y_db:.2f} -> {card.best_psnr_y_db:.2f} dB ({card.gain_db:+.2f}), best at "
        f"iteration {card.best_iteration} of {card.iterations}"
    )
    for line in card.describe():
        console.line(line)
    console.line(f"wrote {report.adapter}")
    console.json(
        {
            "adapter": str(report.adapter),
            "seconds_per_iteration": report.seconds_per_iteration,
            **card.model_dump(exclude={"artifact", "format_version"}),
        }
    )
