"""``adaptsr eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console
from adaptsr_cli.errors import UsageError

if TYPE_CHECKING:
    from adaptsr_cli.evaluation import Evaluation


def run_command(
    data: o.Data = None,
    hr: o.Hr = None,
    lr_folder: o.Lr = None,
    list_file: o.ListFile = None,
    align: o.Align = None,
    run: o.Run = o.DEFAULT_RUN,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-n",
            help="Checkpoint or catalogue name, repeatable. Left out: backbone and merged model of the run.",
        ),
    ] = None,
    adapter: Annotated[
        list[Path] | None,
        typer.Option(
            "--adapter",
            help="Adapter file, scored on the backbone that it was made for, repeatable.",
            show_default=False,
        ),
    ] = None,
    sr: Annotated[
        list[str] | None, typer.Option("--sr", help="NAME=FOLDER of images that another system made, repeatable.")
    ] = None,
    metrics: o.Metrics = "psnr,ssim,lpips_squeeze",
    protocol: Annotated[
        str, typer.Option(help="paper, rgb, basicsr, stablesr (LR centre crop of 128 px) or whole.")
    ] = "paper",
    split: Annotated[str, typer.Option(help="held-out leaves out what the run trained on; or all.")] = "held-out",
    degrade: o.Degrade = None,
    tile: o.Tile = "auto",
    weights_dir: o.WeightsDir = None,
    offline: o.Offline = False,
    device: o.Device = "auto",
    precision: o.PrecisionChoice = "auto",
    seed: o.Seed = 0,
    force: o.Force = False,
    json: o.Json = False,
    debug: o.Debug = False,
) -> None:
    """Score models side by side: table, eval.json, comparison sheet."""
    from adaptsr_cli.backbones.catalogue import weights_dir as find_weights_dir
    from adaptsr_cli.cli.choices import choose, choose_images
    from adaptsr_cli.cli.group import join_group
    from adaptsr_cli.metrics.protocol import parse_metrics
    from adaptsr_cli.stages.evaluate import EvaluateConfig, evaluate
    from adaptsr_cli.stages.run_folder import RunFolder

    config = EvaluateConfig(
        run=RunFolder(run),
        data=choose_images(data, hr, lr_folder, list_file, align),
        weights_dir=find_weights_dir(weights_dir),
        offline=offline,
        models=tuple(model or ()),
        adapters=tuple(adapter or ()),
        others=tuple(_parse_folder(text) for text in sr or ()),
        metrics=parse_metrics(metrics),
        protocol=protocol,
        split=choose("--split", split, ("held-out", "all")),
        degrade=degrade,
        tile_px=o.parse_tile(tile),
        device=device,
        precision=precision,
        seed=seed,
        force=force,
    )
    with join_group(as_json=json) as (world, console):
        evaluation = evaluate(config, console, world)
        show_evaluation(console, evaluation)
        console.line(f"wrote {config.run.evaluation} and {config.run.comparison.name}")


def _parse_folder(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not (name and separator and folder):
        raise UsageError(f"--sr {text!r} is not NAME=FOLDER", "for example --sr RealESRGAN=results/")
    return name, Path(folder)


def show_evaluation(console: Console, evaluation: Evaluation) -> None:
    """The mean scores of every model, with the gain over the first."""
    from adaptsr_cli.units import plural

    names = list(evaluation.models[0].metrics)
    first = evaluation.models[0].metrics
    rows = []
    for model in evaluation.models:
        cells = []
        for name in names:
            value, gain = model.metrics[name], model.metrics[name] - first[name]
            digits = 2 if name.endswith("_db") else 4
            cells.append(
                f"{value:.{digits}f}" + (f" ({gain:+.{digits}f})" if model is not evaluation.models[0] else "")
            )
        rows.append((model.name, *cells))
    console.table(
        f"{plural(len(evaluation.images), 'image')} of {evaluation.data} ({evaluation.split}); "
        f"protocol {evaluation.protocol_text}",
        ("model", *names),
        rows,
    )
    console.json(evaluation.model_dump(mode="json"))
