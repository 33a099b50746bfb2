"""``adaptsr eval``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from adaptsr_cli.cli.console import Console
from adaptsr_cli.units import plural

if TYPE_CHECKING:
    from adaptsr_cli.artifacts.evaluation import DialCurve, Evaluation, PairedTest
    from adaptsr_cli.stages.evaluate.options import EvaluateOptions

_MARKS = {1: "¹", 2: "²"}  # best and second best, where paper has bold and underline


def run(options: EvaluateOptions, as_json: bool) -> None:
    """Score models side by side: table, eval.json, comparison sheet, report to look at."""
    from adaptsr_cli.cli.group import join_group
    from adaptsr_cli.stages.evaluate.stage import run_evaluate

    with join_group(as_json=as_json, wording=options.to_flags) as (world, console):
        result = run_evaluate(options, progress=console, world=world)
        show_evaluation(console, result.evaluation)
        console.json(result.to_json())
        sheet = f", {result.comparison.name}" if result.comparison else ""
        tables = "".join(f", {path}" for path in result.tables)
        console.line(f"wrote {result.eval_json}{sheet}, {result.report.name}{tables}")
    if result.evaluation.left_out:
        raise typer.Exit(1)


def make() -> Callable[..., None]:
    """The command."""
    from adaptsr_cli.cli.signature import make_command
    from adaptsr_cli.stages.evaluate.options import EvaluateOptions

    return make_command(EvaluateOptions, run)


def show_evaluation(console: Console, evaluation: Evaluation) -> None:
    """The mean scores of every model, sorted, best and second best marked, with the gain over the first one."""
    from adaptsr_cli.report.findings import describe_images, fold_rows
    from adaptsr_cli.report.metric_names import name_metric
    from adaptsr_cli.report.tables import arrange
    from adaptsr_cli.units import list_some

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
        f"{describe_images(evaluation)}; protocol {evaluation.protocol_text}",
        ("model", *keys),
        texts,
        numeric=keys,
    )
    if len(rows) > 1:
        second = f", {_MARKS[2]} second best" if len(rows) > 2 else ""
        console.line(f"{_MARKS[1]} best{second}; in brackets: against {evaluation.models[0].name}")
    if evaluation.left_out:
        told = [f"{image.name} ({image.reason})" for image in evaluation.left_out]
        console.line(f"{plural(len(told), 'image')} left out, in no mean: {list_some(told, 3, '; ')}")
    leading = next((key for key in keys if name_metric(key).better), keys[0] if keys else None)
    for test in evaluation.comparisons:
        if test.metric == leading:
            console.line(_describe_test(test))
    folds = fold_rows(evaluation)
    if folds and leading is not None:
        columns = ("fold", "images", evaluation.models[0].name, evaluation.models[-1].name, "difference", "training")
        lines = [(row.fold, row.images, *row.scores, row.training) for row in folds]
        label = name_metric(leading).label
        console.table(f"{label} fold by fold, each scored by a training that has not seen it", columns, lines)
    if evaluation.dial is not None:
        _show_dial(console, evaluation.dial)


def _show_dial(console: Console, curve: DialCurve) -> None:
    """The scores of every setting between faithful and sharp."""
    from adaptsr_cli.report.dial import describe_equal, dial_table

    equal = describe_equal(curve)
    columns, rows = dial_table(curve)
    title = f"faithful to sharp (--sharpness of upscale, merge and export), {plural(curve.images, 'image')}"
    console.table(title, ("setting", *columns[1:]), rows, numeric=columns[1:])
    if equal:
        console.line(f"the PSNR-Y of the backbone is {equal}")


def _describe_test(test: PairedTest) -> str:
    """One comparison in words, with its interval and its p-value where there are several images."""
    from adaptsr_cli.report.findings import chance_text, counts_text
    from adaptsr_cli.report.metric_names import name_metric

    name = name_metric(test.metric)
    digits, unit = name.digits, f" {name.unit}" if name.unit else ""
    line = f"{test.model} against {test.against}, {name.label}: {test.mean_difference:+.{digits}f}{unit}"
    if test.p_value is None or test.ci95_low is None or test.ci95_high is None:
        return line
    return (
        f"{line} (95 % interval {test.ci95_low:+.{digits}f} to {test.ci95_high:+.{digits}f}, "
        f"{counts_text(test)}, {chance_text(test)})"
    )
