"""``adaptsr train``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaptsr_cli.cli.console import Console
    from adaptsr_cli.stages.train.options import TrainOptions
    from adaptsr_cli.stages.train.stage import TrainResult


def run(options: TrainOptions, as_json: bool) -> None:
    """Train adapters at the planned sites; the same command resumes."""
    from adaptsr_cli.cli.group import join_group
    from adaptsr_cli.cli.text import suggest
    from adaptsr_cli.stages.common.run_folder import RunFolder
    from adaptsr_cli.stages.train.stage import run_train

    with join_group(as_json=as_json, wording=options.to_flags) as (world, console):
        result = run_train(options, progress=console, world=world)
        show_training(console, result)
        console.line(suggest("merge", run=options.run, replaces=RunFolder(options.run).merged))
        console.json(result.to_json())


def make() -> Callable[..., None]:
    """The function that typer registers."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.train.options import TrainOptions

    return make_command(TrainOptions, run, config_file=True)


def show_training(console: Console, result: TrainResult) -> None:
    """What the run came to and what it cost, in a few lines and a file name."""
    card = result.card
    show_search(console, result)
    console.line(
        f"held-out PSNR-Y {card.backbone_psnr_y_db:.2f} -> {card.best_psnr_y_db:.2f} dB ({card.gain_db:+.2f}), best at "
        f"iteration {card.best_iteration} of {card.iterations}"
    )
    for line in card.describe():
        console.line(line)
    console.line(f"wrote {result.adapter}")
    show_perceptual(console, result)


def show_perceptual(console: Console, result: TrainResult) -> None:
    """What the perceptual adapter gives up, and how to use it; nothing where there is none."""
    if result.perceptual is None:
        return
    card = result.perceptual.card
    console.line(
        f"perceptual adapter on top: held-out PSNR-Y {card.backbone_psnr_y_db:.2f} -> {card.best_psnr_y_db:.2f} dB at "
        f"sharpness 1, of {card.iterations} iterations; mix it in by `--sharpness` of upscale, merge and export"
    )
    console.line(f"wrote {result.perceptual.adapter}")


def show_search(console: Console, result: TrainResult) -> None:
    """The trials of the search for method and learning rate, where there was one."""
    if result.search is not None:
        columns, rows = result.search.table()
        console.table("search for the learning rate: held-out gain of each trial", columns, rows)
