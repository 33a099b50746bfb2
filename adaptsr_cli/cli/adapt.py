"""``adaptsr adapt``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from adaptsr_cli.cli.console import Console
    from adaptsr_cli.stages.adapt.options import AdaptOptions
    from adaptsr_cli.stages.adapt.stage import AdaptResult


def run(options: AdaptOptions, as_json: bool) -> None:
    """Score, allocate, train, merge and evaluate in one call."""
    from adaptsr_cli.cli.group import join_group
    from adaptsr_cli.cli.text import suggest
    from adaptsr_cli.stages.adapt.stage import run_adapt

    with join_group(as_json=as_json, wording=options.to_flags) as (world, console):
        result = run_adapt(options, progress=console, world=world)
        show_adaptation(console, result)
        console.line(suggest("upscale", "in.png", run=options.run))
    if result.fault is not None:
        raise type(result.fault)(f"what was trained is kept, but: {result.fault.message}", result.fault.hint)
    if result.evaluation is not None and result.evaluation.left_out:
        raise typer.Exit(1)


def make() -> Callable[..., None]:
    """The function that typer registers."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.adapt.options import AdaptOptions

    return make_command(AdaptOptions, run, config_file=True)


def show_adaptation(console: Console, result: AdaptResult) -> None:
    """Before and after, and where everything lies."""
    from adaptsr_cli.cli.evaluate import show_evaluation
    from adaptsr_cli.cli.train import show_perceptual, show_search
    from adaptsr_cli.units import format_params, format_seconds

    show_search(console, result.training)
    before = after = None
    if result.evaluation is not None:
        show_evaluation(console, result.evaluation)
        before, after = (model.metrics.get("psnr_y_db") for model in result.evaluation.models)
    console.json(result.to_json())
    if before is not None and after is not None:
        where = " on simulated LR" if result.evaluation is not None and result.evaluation.simulated_lr else ""
        share = result.training.card.trainable_params / result.rank_map.backbone.params
        console.line(
            f"adapted: {before:.2f} -> {after:.2f} dB PSNR-Y{where} ({after - before:+.2f}) by "
            f"{format_params(result.training.card.trainable_params)} trained parameters ({share:.1%}) in "
            f"{format_seconds(result.training.card.wall_s)} of training; the merged model costs nothing more"
        )
    show_perceptual(console, result.training)
    run, folds = result.run, () if result.evaluation is None else result.evaluation.folds
    files = run.evaluation_files("")
    names = ["saliency.json", "rank_map.json", "adapter.safetensors", "merged.safetensors"]
    if result.evaluation is not None:
        names += [path.name for path in (files.scores, files.comparison, files.report) if path.exists()]
    if folds:
        ends = [run.folds / str(fold.fold) / files.comparison.name for fold in (folds[0], folds[-1])]
        names.append(" to ".join(str(sheet.relative_to(run.root)) for sheet in ends))
    names += [str(result.example.relative_to(run.root))] if result.example else []
    console.line(f"in {run.root}: {', '.join(names)}")
