"""A study: rows of trials over several seeds, as a table of means, paired tests and a picture.

Within a seed all rows have the same split, the same crops and the same saliency, so that rows are compared seed by seed
(paired t-test, two-sided). Writes ``benchmarks/results/tables/NAME.{json,md,png}``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import ttest_1samp
from trials import RESULTS, Bench, Trial, run_trials

METRICS: Final = ("psnr_y_db", "ssim_y", "lpips")


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        name: As it stands in the table.
        changes: What its trials have other than the study's base.
    """

    name: str
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What the user asked for."""

    bench: Bench
    base: Trial
    seeds: tuple[int, ...]
    output: str


def read_setting(description: str, output: str, **defaults: Any) -> Setting:
    """Read the command line that all studies have.

    Args:
        description: The script's docstring.
        output: Prefix of the names of the results.
        defaults: Of the options, where a study has its own.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of pairs")
    parser.add_argument("--backbone", type=Path, help="checkpoint; left out: the embedded network")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--budget", default="8%")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--alpha", type=float, default=8.0)
    parser.add_argument("--seeds", type=int, default=1, help="how many: 0, 1, 2...")
    parser.add_argument("--weights-dir", type=Path, help="folder with the SqueezeNet trunk, for LPIPS")
    parser.add_argument("--only-psnr", action="store_true", help="no SSIM and LPIPS, which take another pass")
    parser.add_argument("--jobs", type=int, default=1, help="trials at once")
    parser.add_argument("--threads", type=int, default=1, help="of each trial")
    parser.add_argument("--output", help="name of the results")
    parser.set_defaults(**defaults)
    options = parser.parse_args()
    backbone = options.backbone.stem if options.backbone else "SAFMN"
    base = Trial(
        backbone=options.backbone.name if options.backbone else "",
        data=options.data.name,
        seed=0,
        iterations=options.iterations,
        batch=options.batch,
        patch=options.patch,
        budget=options.budget,
        lr=options.lr,
        alpha=options.alpha,
    )
    bench = Bench(
        backbone=options.backbone,
        data=options.data.resolve(),
        weights=options.weights_dir,
        only_psnr=options.only_psnr,
        jobs=options.jobs,
        threads=options.threads,
    )
    name = options.output or f"{output}_{backbone}_{options.data.name}"
    return Setting(bench, base, tuple(range(options.seeds)), name)


def run_study(setting: Setting, title: str, rows: Sequence[Row], *, against: str | None = None) -> dict[str, Any]:
    """Run what is missing and write table and picture.

    Args:
        setting: From the command line.
        title: Heading of the table.
        rows: In the order of the table.
        against: Name of the row that the others are tested against; None for no test.

    Returns:
        The report, as it stands in the JSON file.
    """
    trials = [setting.base.changed(seed=seed, **row.changes) for seed in setting.seeds for row in rows]
    figures = run_trials(trials, setting.bench)
    by_row: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
    for number, entry in enumerate(figures):
        by_row[rows[number % len(rows)].name].append(entry)
    report = {
        "title": title,
        "backbone": setting.base.backbone or "the embedded SAFMN x4",
        "data": setting.base.data,
        "machine": figures[-1]["machine"],
        "seeds": len(setting.seeds),
        "base": {key: getattr(setting.base, key) for key in ("iterations", "batch", "patch", "budget", "lr", "alpha")},
        "rows": [
            _summarise(row, by_row[row.name], by_row[against] if against and row.name != against else None)
            for row in rows
        ],
        "against": against,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / setting.output
    path.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))
    return report


def _summarise(row: Row, entries: list[dict[str, Any]], other: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Means and standard deviations over the seeds, and the differences to another row."""
    summary: dict[str, Any] = {
        "name": row.name,
        "params": round(float(np.mean([entry["params"] for entry in entries]))),
        "backbone_params": entries[0]["backbone_params"],
        "curves": [entry["curve"] for entry in entries],
    }
    for metric in METRICS:
        values = [entry[metric] for entry in entries if entry[metric] is not None]
        summary[metric] = float(np.mean(values)) if values else None
        summary[f"{metric}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    if other is not None:
        difference = np.array([a["psnr_y_db"] - b["psnr_y_db"] for a, b in zip(entries, other, strict=True)])
        summary["difference_db"] = float(difference.mean())
        if len(difference) > 1:
            summary["difference_std"] = float(difference.std(ddof=1))
            test = ttest_1samp(difference, 0.0)
            low, high = test.confidence_interval(0.95)
            summary |= {"p_value": float(test.pvalue), "ci95_db": [float(low), float(high)]}
    return summary


def to_markdown(report: dict[str, Any]) -> str:
    """The rows as a table; the best and the second best PSNR-Y, SSIM-Y and LPIPS are marked."""
    base = ", ".join(f"{key} {value}" for key, value in report["base"].items() if value is not None)
    several = report["seeds"] > 1
    lines = [
        f"### {report['title']}",
        "",
        f"{report['backbone']} on {report['data']}, held-out images, {report['seeds']} seed(s); {base}; "
        f"{report['machine']}."
        + (" Each seed holds out other images, so ± is mostly that; compare by the paired differences." * several),
        "",
    ]
    head = "| | PSNR-Y | SSIM-Y | LPIPS (squeeze) | updated parameters |"
    rule = "|---|---|---|---|---|"
    against = report["against"]
    if against:
        head, rule = f"{head} against {against} | p |", f"{rule}---|---|"
    lines += [head, rule]
    marks = {metric: _marks([row[metric] for row in report["rows"]], metric != "lpips") for metric in METRICS}
    for number, row in enumerate(report["rows"]):
        cells = [
            marks[metric][number].format(_with_std(row[metric], row[f"{metric}_std"], digits))
            for metric, digits in zip(METRICS, (3, 4, 4), strict=True)
        ]
        share = row["params"] / row["backbone_params"]
        cells.append(f"{row['params']:,} ({share:.1%})" if row["params"] else "-")
        if against:
            cells.append(_with_std(row.get("difference_db"), row.get("difference_std"), 3, sign="+"))
            p_value = row.get("p_value")
            cells.append("-" if p_value is None else f"{p_value:.3f}")
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _with_std(value: float | None, std: float | None, digits: int, sign: str = "") -> str:
    if value is None:
        return "-"
    return f"{value:{sign}.{digits}f}" + (f" ± {std:.{digits}f}" if std is not None else "")


def _marks(values: Sequence[float | None], larger_is_better: bool) -> list[str]:
    """Bold for the best, underlined for the second best."""
    told = sorted({value for value in values if value is not None}, reverse=larger_is_better)
    formats = dict(zip(told, ("**{}**", "<u>{}</u>"), strict=False))
    return ["{}" if value is None else formats.get(value, "{}") for value in values]


def draw(setting: Setting, paint: Callable[[Axes], None], width_in: float = 6.4, height_in: float = 4.0) -> None:
    """Write the picture of a study.

    Args:
        setting: Names the file.
        paint: Draws into the axes.
        width_in: Of the picture, in inches.
        height_in: Of the picture, in inches.
    """
    figure = Figure(figsize=(width_in, height_in), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#eceef0")
    axes.set_axisbelow(True)
    paint(axes)
    figure.savefig(RESULTS / f"{setting.output}.png", metadata={"Software": None})


def draw_rows(setting: Setting, report: dict[str, Any]) -> None:
    """PSNR-Y of every row; where rows were tested against one, the differences with their 95 % intervals."""
    against = report["against"]
    rows = [row for row in report["rows"] if not against or "difference_db" in row]

    def paint(axes: Axes) -> None:
        places = range(len(rows))
        values = [row["difference_db" if against else "psnr_y_db"] for row in rows]
        if against:
            low = [row["difference_db"] - row.get("ci95_db", [row["difference_db"]])[0] for row in rows]
            high = [row.get("ci95_db", [row["difference_db"]])[-1] - row["difference_db"] for row in rows]
            axes.errorbar(values, places, xerr=[low, high], fmt="o", color="#0072b2", ecolor="#c8d3dc")
            axes.axvline(0.0, color="#59636e", linewidth=1)
            axes.set_xlabel(f"held-out PSNR-Y against {against} (dB), 95 % interval over the seeds")
        else:
            axes.plot(values, places, "o", color="#0072b2")
            axes.set_xlabel("held-out PSNR-Y (dB)")
        axes.set_yticks(places, [row["name"] for row in rows])
        axes.invert_yaxis()
        axes.set_title(f"{report['backbone']} on {report['data']}, {report['seeds']} seed(s)", fontsize=10)

    draw(setting, paint, width_in=7.6, height_in=1.2 + 0.3 * len(rows))
