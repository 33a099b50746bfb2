"""What adapting to real cameras gains: `adaptsr adapt` on folders of real pairs, for several networks.

    python benchmarks/real_pairs.py --pairs iphone/ ntire2019/ --models DCTLSA_x4.pt SAFMN_x2.safetensors

Always includes the embedded network. Scores are those of the held-out fifth of each folder, by the protocol `paper`, on
whole images. Writes ``benchmarks/results/real_pairs.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.adapt.options import AdaptOptions
from adaptsr_cli.stages.adapt.stage import run_adapt

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Adapts every network to every folder and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--models", type=Path, nargs="*", default=[])
    parser.add_argument("--budget", default="8%")
    parser.add_argument("--iterations", type=int, default=None, help="the preset's where left out")
    parser.add_argument("--batch", type=int, default=None)
    options = parser.parse_args()
    report: dict[str, Any] = {"machine": describe_machine(pick_device("auto")), "rows": []}
    for pairs in options.pairs:
        for model in [None, *options.models]:
            row = {"data": pairs.name, "model": model.name if model else "embedded SAFMN x4"}
            with tempfile.TemporaryDirectory() as folder:
                row |= measure(Path(folder) / "run", pairs, model, options)
            report["rows"].append(row)
            print(json.dumps(row), flush=True)
    results = ROOT / "benchmarks" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "real_pairs.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (results / "real_pairs.md").write_text(to_markdown(report), encoding="utf-8")


def measure(run: Path, pairs: Path, model: Path | None, options: argparse.Namespace) -> dict[str, Any]:
    """One adaptation: scores before and after on held-out pairs, parameters and time."""
    job = AdaptOptions(
        run=run,
        model=str(model) if model else None,
        offline=True,
        data=str(pairs),
        iterations=options.iterations,
        batch=options.batch,
        budget=options.budget,
        metrics="psnr,ssim",
    )
    done = run_adapt(job)
    before, after = (entry.metrics for entry in done.evaluation.models)
    improved = sum(
        image.models["merged"]["psnr_y_db"] > image.models["backbone"]["psnr_y_db"] for image in done.evaluation.images
    )
    return {
        "params": done.training.card.trainable_params,
        "share": round(done.training.card.trainable_params / done.rank_map.backbone.params, 4),
        "iterations": done.training.card.iterations,
        "seconds": round(done.training.card.wall_s, 1),
        "held_out": len(done.evaluation.images),
        "improved": improved,
        "psnr_y_db": [round(before["psnr_y_db"], 3), round(after["psnr_y_db"], 3)],
        "ssim_y": [round(before["ssim_y"], 4), round(after["ssim_y"], 4)],
    }


def to_markdown(report: dict[str, Any]) -> str:
    """The rows as a table."""
    lines = [
        f"Made by `python benchmarks/real_pairs.py` on {report['machine']}.",
        "",
        "| pairs | network | trained | PSNR-Y before -> after | SSIM-Y before -> after | better on | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        (psnr, psnr_after), (ssim, ssim_after) = row["psnr_y_db"], row["ssim_y"]
        lines.append(
            f"| {row['data']} | {row['model']} | {row['params']:,} ({row['share']:.1%}) "
            f"| {psnr:.2f} -> {psnr_after:.2f} dB (**{psnr_after - psnr:+.2f}**) "
            f"| {ssim:.4f} -> {ssim_after:.4f} | {row['improved']} of {row['held_out']} "
            f"| {row['iterations']} iterations, {row['seconds']:.0f} s |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
