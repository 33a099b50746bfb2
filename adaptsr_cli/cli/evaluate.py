"""``adaptsr eval``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaptsr_cli.cli import options as o
from adaptsr_cli.cli.console import Console
from adaptsr_cli.errors import UsageError

if TYPE_CHECKING:
    from adaptsr_cli.artifacts.evaluation import Evaluation, PairedTest


_MARKS = {1: "¹", 2: "²"}  # best and second best, where paper has bold and underline


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
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            help="Comma-separated: psnr, ssim, ms_ssim, delta_e (mean CIEDE2000), lpips_squeeze, lpips_alex, "
            "lpips_vgg, dists; niqe, sharpness and noise of the output alone.",
            show_default="psnr,ssim,lpips_squeeze; without a reference niqe,sharpness,noise",
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="paper, rgb, basicsr, stablesr (LR centre crop of 128 px), whole, or no-reference (--data is LR)."
        ),
    ] = "paper",
    split: Annotated[str, typer.Option(help="held-out leaves out what the run trained on; or all.")] = "held-out",
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the table there, with spread and p-values.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the table there, for a README.")] = None,
    latex: Annotated[Path | None, typer.Option("--latex", help="Write the table there, for a paper.")] = None,
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
    """Score models side by side: table, eval.json, comparison sheet, report to look at."""
    from adaptsr_cli.backbones.catalogue import weights_dir as find_weights_dir
    from adaptsr_cli.cli.group import join_group
    from adaptsr_cli.cli.parse import choose, choose_images
    from adaptsr_cli.metrics.protocol import default_metrics, parse_metrics
    from adaptsr_cli.report.tables import TableKind
    from adaptsr_cli.stages.common.run_folder import RunFolder
    from adaptsr_cli.stages.evaluate.stage import EvaluateOptions, evaluate

    named: dict[TableKind, Path | None] = {"csv": csv, "markdown": markdown, "latex": latex}
    tables = {kind: path for kind, path in named.items() if path is not None}
    config = EvaluateOptions(
        run=RunFolder(run),
        data=choose_images(data, hr, lr_folder, list_file, align),
        weights_dir=find_weights_dir(weights_dir),
        offline=offline,
        models=tuple(model or ()),
        adapters=tuple(adapter or ()),
        others=tuple(_parse_folder(text) for text in sr or ()),
        metrics=parse_metrics(metrics or default_metrics(protocol)),
        protocol=protocol,
        split=choose("--split", split, ("held-out", "all")),
        tables=tables,
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
        sheet = f", {config.run.comparison.name}" if config.run.comparison.exists() else ""
        others = "".join(f", {path}" for path in tables.values())
        console.line(f"wrote {config.run.evaluation}{sheet}, {config.run.report.name}{others}")


def _parse_folder(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not (name and separator and folder):
        raise UsageError(f"--sr {text!r} is not NAME=FOLDER", "for example --sr RealESRGAN=results/")
    return name, Path(folder)


def show_evaluation(console: Console, evaluation: Evaluation) -> None:
    """The mean scores of every model, sorted, best and second best marked, with the gain over the first one."""
    from adaptsr_cli.report.metric_names import name_metric
    from adaptsr_cli.report.tables import arrange
    from adaptsr_cli.units import plural

    keys, rows = arrange(evaluation)
    gains = {(test.model, test.metric): test.mean_difference for test in evaluation.comparisons}
    texts = []
    for row in rows:
        cells = []
        for cell in row.cells:
            gain = gains.get((row.model.name, cell.key))
            behind = "" if gain is None else f" ({gain:+.{name_metric(cell.key).digits}f})"
            cells.append(f"{cell.text}{_MARKS.get(cell.place, '')}{behind}")
        texts.append((row.model.name, *cells))
    console.table(
        f"{plural(len(evaluation.images), 'image')} of {evaluation.data} ({evaluation.split}); "
        f"protocol {evaluation.protocol_text}",
        ("model", *keys),
        texts,
        numeric=keys,
    )
    if len(rows) > 1:
        second = f", {_MARKS[2]} second best" if len(rows) > 2 else ""
        console.line(f"{_MARKS[1]} best{second}; in brackets: against {evaluation.models[0].name}")
    leading = next((key for key in keys if name_metric(key).better), keys[0] if keys else None)
    for test in evaluation.comparisons:
        if test.metric == leading:
            console.line(_describe_test(test))
    console.json(evaluation.model_dump(mode="json"))


def _describe_test(test: PairedTest) -> str:
    """One comparison in words, with its interval and its p-value where there are several images."""
    from adaptsr_cli.report.findings import counts_text
    from adaptsr_cli.report.metric_names import name_metric

    name = name_metric(test.metric)
    digits, unit = name.digits, f" {name.unit}" if name.unit else ""
    line = f"{test.model} against {test.against}, {name.label}: {test.mean_difference:+.{digits}f}{unit}"
    if test.p_value is None or test.ci95_low is None or test.ci95_high is None:
        return line
    return (
        f"{line} (95 % interval {test.ci95_low:+.{digits}f} to {test.ci95_high:+.{digits}f}, "
        f"{counts_text(test)}, Wilcoxon p = {test.p_value:.2g})"
    )
