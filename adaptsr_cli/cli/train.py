"""``adaptsr train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console

if TYPE_CHECKING:
    from adaptsr_cli.stages.train import TrainReport


def run_command(
    data: o.Data,
    run: o.Run = o.DEFAULT_RUN,
    model: o.Model = None,
    val: o.Val = None,
    rank_map: Annotated[Path | None, typer.Option(help="Rank map; left out: the run's.", show_default=False)] = None,
    preset: Annotated[str, typer.Option(help="fast (minutes) or paper (100,000 iterations).")] = "fast",
    iterations: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.", show_default=False)] = None,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="Time budget; the schedule is fitted into it.", show_default=False),
    ] = None,
    batch: o.Batch = None,
    patch: o.Patch = None,
    lr: Annotated[float | None, typer.Option(min=1e-8, max=1.0, help="Learning rate.", show_default=False)] = None,
    alpha: Annotated[float | None, typer.Option(min=1e-6, help="LoRA scale alpha/r.", show_default=False)] = None,
    method: Annotated[str, typer.Option(help="What is trained: lora.")] = "lora",
    objective: Annotated[str, typer.Option(help="What is minimised: fidelity (L1).")] = "fidelity",
    degrade: o.Degrade = None,
    val_freq: Annotated[
        int | None, typer.Option("--val-freq", min=1, help="Iterations between validations.", show_default=False)
    ] = None,
    save_freq: Annotated[
        int | None, typer.Option("--save-freq", min=1, help="Iterations between saved states.", show_default=False)
    ] = None,
    weights_dir: o.WeightsDir = None,
    offline: o.Offline = False,
    device: o.Device = "auto",
    precision: o.PrecisionChoice = "auto",
    seed: o.Seed = 0,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Train low-rank adapters at the planned sites; the same command resumes."""
    from adaptsr_cli.cli.choices import choose, model_choice
    from adaptsr_cli.stages.run_folder import RunFolder
    from adaptsr_cli.stages.train import TrainOptions, train

    console = Console(as_json=json)
    choose("--method", method, ("lora",))
    choose("--objective", objective, ("fidelity",))
    options = TrainOptions(
        run=RunFolder(run),
        model=model_choice(model, weights_dir, offline),
        data=data,
        val=val,
        rank_map=rank_map,
        preset=choose("--preset", preset, ("fast", "paper")),
        iterations=iterations,
        minutes=minutes,
        batch=batch,
        patch_px=patch,
        lr=lr,
        alpha=alpha,
        degrade=degrade,
        val_freq=val_freq,
        save_freq=save_freq,
        device=device,
        precision=precision,
        seed=seed,
        force=force,
    )
    show_training(console, train(options, console))
    console.line(f"next: adaptsr merge{o.run_flag(run)}")


def show_training(console: Console, report: TrainReport) -> None:
    """What the run came to, in one line and a file name."""
    from dataclasses import asdict

    from adaptsr_cli.units import format_bytes, format_params, format_seconds

    gain_db = report.best_psnr_y_db - report.backbone_psnr_y_db
    console.line(
        f"held-out PSNR-Y {report.backbone_psnr_y_db:.2f} -> {report.best_psnr_y_db:.2f} dB ({gain_db:+.2f}), best at "
        f"iteration {report.best_iteration} of {report.iterations}; {format_params(report.params)} trained "
        f"parameters, {format_seconds(report.seconds)}"
        + (f", peak {format_bytes(report.peak_memory_bytes)} on the device" if report.peak_memory_bytes else "")
    )
    console.line(f"wrote {report.adapter}")
    console.json({**asdict(report), "adapter": str(report.adapter)})
