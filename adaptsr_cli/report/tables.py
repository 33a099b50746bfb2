"""Comparison tables as papers print them: sorted, the best bold and the second best underlined."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Final, Literal

from adaptsr_cli.artifacts.evaluation import Evaluation, ModelScores
from adaptsr_cli.report.metric_names import name_metric, rank_values

_LATEX_ESCAPES: Final = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
    }
)


@dataclass(frozen=True)
class Cell:
    """A mean in a table.

    Attributes:
        text: With as many digits as are usual, without unit.
        place: 1 for the best, 2 for the second best, more for others; 0 where there is nothing to mark.
        value: The mean.
        key: Its metric.
    """

    text: str
    place: int
    value: float
    key: str


@dataclass(frozen=True)
class Row:
    """One model; `cells` are in the order of the metrics."""

    model: ModelScores
    cells: tuple[Cell, ...]


def arrange(evaluation: Evaluation) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """The metrics, and a row for each model, the best by the first metric that has a better way first.

    Models that are equal keep the order in which they were named. With one model nothing is marked, and of two only
    the best, since the other one needs no mark.
    """
    models = evaluation.models
    keys = tuple(models[0].metrics)
    columns = {key: [model.metrics[key] for model in models] for key in keys}
    marked = {1: 0, 2: 1}.get(len(models), len(models))  # the last place that is worth a mark
    places = {
        key: [place if place <= marked else 0 for place in rank_values(key, values)] for key, values in columns.items()
    }
    rows = [
        Row(
            model,
            tuple(
                Cell(f"{columns[key][at]:.{name_metric(key).digits}f}", places[key][at], columns[key][at], key)
                for key in keys
            ),
        )
        for at, model in enumerate(models)
    ]
    leading = next((key for key in keys if name_metric(key).better is not None), None)
    if leading is not None:
        sign = -1 if name_metric(leading).better == "higher" else 1
        rows.sort(key=lambda row: sign * row.model.metrics[leading])
    return keys, tuple(rows)


def to_csv(evaluation: Evaluation) -> str:
    """One line a model: for each metric mean, standard deviation, 95 % interval, and p-value against the first model.

    Fields that do not exist, such as the p-value of the first model, are empty.
    """
    keys, rows = arrange(evaluation)
    p_values = {(test.model, test.metric): test.p_value for test in evaluation.comparisons}
    lines = StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    parts = ("", "_std", "_ci95_low", "_ci95_high", "_p_value")
    fixed = ("model", "source", "sha256", "images", "protocol", "data")
    writer.writerow([*fixed, *(f"{key}{part}" for key in keys for part in parts)])
    for row in rows:
        model = row.model
        fields: list[object] = [model.name, model.source, model.sha256, len(evaluation.images)]
        fields += [evaluation.protocol, evaluation.data]
        for key in keys:
            spread = model.spread[key]
            fields += [model.metrics[key], spread.std, spread.ci95_low, spread.ci95_high]
            fields.append(p_values.get((model.name, key)))
        writer.writerow(fields)
    return lines.getvalue()


def to_markdown(evaluation: Evaluation) -> str:
    """A table for a README: the best bold, the second best underlined, the protocol below."""
    keys, rows = arrange(evaluation)
    marks = {1: ("**", "**"), 2: ("<u>", "</u>")}
    lines = [
        _markdown_row(["model", *(_heading(key) for key in keys)]),
        _markdown_row(["---", *("---:" for _ in keys)]),
        *(
            _markdown_row([_escape_markdown(row.model.name), *(_marked(cell, marks) for cell in row.cells)])
            for row in rows
        ),
    ]
    return "\n".join([*lines, "", _escape_markdown(_caption(evaluation))]) + "\n"


def to_latex(evaluation: Evaluation) -> str:
    """A ``table`` for a paper (needs booktabs): the best bold, the second best underlined, the protocol as caption."""
    keys, rows = arrange(evaluation)
    marks = {1: (r"\textbf{", "}"), 2: (r"\underline{", "}")}
    arrows = {"↑": r" $\uparrow$", "↓": r" $\downarrow$", "": ""}

    def heading(key: str) -> str:
        name = name_metric(key)
        unit = f" ({name.unit})" if name.unit else ""
        return _escape_latex(f"{name.label}{unit}") + arrows[name.arrow]

    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{_escape_latex(_caption(evaluation))}}}",
        rf"  \begin{{tabular}}{{l{'r' * len(keys)}}}",
        r"    \toprule",
        f"    {' & '.join(['Model', *map(heading, keys)])} \\\\",
        r"    \midrule",
        *(
            f"    {' & '.join([_escape_latex(row.model.name), *(_marked(cell, marks) for cell in row.cells)])} \\\\"
            for row in rows
        ),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


TableKind = Literal["csv", "markdown", "latex"]
TABLES: Final[Mapping[TableKind, Callable[[Evaluation], str]]] = {
    "csv": to_csv,
    "markdown": to_markdown,
    "latex": to_latex,
}


def _caption(evaluation: Evaluation) -> str:
    count = len(evaluation.images)
    images = f"{count} image" if count == 1 else f"{count} images"
    return f"x{evaluation.scale}, {images} of {evaluation.data}; protocol {evaluation.protocol_text}."


def _heading(key: str) -> str:
    name = name_metric(key)
    unit = f" ({name.unit})" if name.unit else ""
    return f"{name.label}{unit} {name.arrow}".rstrip()


def _marked(cell: Cell, marks: dict[int, tuple[str, str]]) -> str:
    before, behind = marks.get(cell.place, ("", ""))
    return f"{before}{cell.text}{behind}"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape_markdown(text: str) -> str:
    """A name or path letter by letter: nothing in it sets type, opens a tag or ends a cell."""
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    for character in ("\\", "|", "*", "_", "`", "["):
        safe = safe.replace(character, f"\\{character}")
    return safe


def _escape_latex(text: str) -> str:
    return text.translate(_LATEX_ESCAPES).replace("Δ", r"$\Delta$").replace("\n", " ")
