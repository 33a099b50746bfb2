"""How the `fast` preset was chosen: held-out PSNR-Y of short trainings that differ in one thing.

    python benchmarks/fast_preset.py --data iphone/ --budget 19k --output fast_preset_iphone
    python benchmarks/fast_preset.py --data ntire2019/ --model DCTLSA_x4.pt --budget 97k --output fast_preset_ntire

Writes ``benchmarks/results/NAME.json`` and ``.md``. Every training uses the same saliency, split and seed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.allocate.options import AllocateOptions
from adaptsr_cli.stages.allocate.stage import run_allocate
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.score.stage import run_score
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.stage import run_train

ROOT = Path(__file__).resolve().parents[1]

# The middle of the search: every other row changes what it names.
BASE: dict[str, Any] = {"lr": 2e-3, "alpha": 8.0, "batch": 8, "patch": 128, "iterations": 300, "strategy": "greedy"}
CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"lr": 5e-4},
    {"lr": 1e-3},
    {"lr": 4e-3},
    {"alpha": 1.0},
    {"alpha": 1.0, "lr": 1e-3},
    {"alpha": 16.0},
    {"batch": 4},
    {"patch": 192},
    {"iterations": 100},
    {"iterations": 1000},
    {"strategy": "uniform"},
)


def main() -> None:
    """Run all rows and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=None)
    parser.add_argument("--budget", default="8%")
    parser.add_argument("--output", required=True)
    parser.add_argument("--iterations", type=int, default=BASE["iterations"], help="of the base")
    parser.add_argument("--batch", type=int, default=BASE["batch"], help="of the base")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the rows to run; all where left out")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        scored = RunFolder(Path(folder) / "scored")
        run_score(ScoreOptions(run=scored.root, model=options.model, offline=True, data=str(options.data), batches=8))
        for number, change in enumerate(CHANGES):
            if options.only and number not in options.only:
                continue
            run = RunFolder(Path(folder) / str(number))
            row = BASE | {"iterations": options.iterations, "batch": options.batch} | change
            rows.append(
                {"changed": change, **row} | measure(run, scored, options.model, options.data, options.budget, row)
            )
            print(json.dumps(rows[-1]), flush=True)
    model = options.model or "the embedded SAFMN x4"
    report: dict[str, Any] = {"model": Path(model).name, "data": options.data.name, "budget": options.budget}
    report |= {
        "machine": describe_machine(pick_device("auto")),
        "base": BASE | {"iterations": options.iterations, "batch": options.batch},
        "rows": rows,
    }
    results = ROOT / "benchmarks" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{options.output}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (results / f"{options.output}.md").write_text(to_markdown(report), encoding="utf-8")


def measure(
    run: RunFolder, scored: RunFolder, model: str | None, data: Path, budget: str, row: dict[str, Any]
) -> dict[str, Any]:
    """One training; the best held-out score and what it cost."""
    run.root.mkdir(parents=True)
    shutil.copy(scored.saliency, run.saliency)
    shutil.copy(scored.record, run.record)
    run_allocate(AllocateOptions(run=run.root, budget=budget, strategy=row["strategy"]))
    report = run_train(
        TrainOptions(
            run=run.root,
            model=model,
            offline=True,
            data=str(data),
            learning_rate=row["lr"],
            alpha=row["alpha"],
            batch=row["batch"],
            patch=row["patch"],
            iterations=row["iterations"],
            val_freq=max(1, row["iterations"] // 5),
        )
    )
    return {
        "params": report.card.trainable_params,
        "backbone_db": round(report.card.backbone_psnr_y_db, 3),
        "best_db": round(report.card.best_psnr_y_db, 3),
        "gain_db": round(report.card.best_psnr_y_db - report.card.backbone_psnr_y_db, 3),
        "seconds": round(report.card.wall_s, 1),
    }


def to_markdown(report: dict[str, Any]) -> str:
    """The rows as a table."""
    base = ", ".join(f"{key} {value}" for key, value in report["base"].items())
    lines = [
        f"{report['model']} on {report['data']}, budget {report['budget']}; {report['machine']}.",
        "",
        f"Base: {base}.",
        "",
        "| changed | held-out PSNR-Y | gain | time |",
        "|---|---|---|---|",
    ]
    for row in report["rows"]:
        changed = ", ".join(f"{key} {value}" for key, value in row["changed"].items()) or "(base)"
        lines.append(f"| {changed} | {row['best_db']:.2f} dB | {row['gain_db']:+.2f} dB | {row['seconds']:.0f} s |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
