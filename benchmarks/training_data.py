"""What should a network be trained on? HR photographs degraded in several ways, real pairs, or aligned real pairs.

    python benchmarks/training_data.py --pairs PAIRS --hr HR_FOLDER [--model FILE ...] [--iterations 300]

`PAIRS` is a folder of real pairs, `HR_FOLDER` the folder of its HR side alone. All rows of one network have the same
backbone, budget, seed and length, watch their own kind of held-out data, and are scored on the real held-out pairs,
whole images. Writes benchmarks/results/training_data.{json,md} after every row; rows that are there already are kept.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Final

import torch

from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.progress import Silent
from adaptsr_cli.runtime import describe_machine
from adaptsr_cli.stages.adapt.options import AdaptOptions
from adaptsr_cli.stages.adapt.stage import run_adapt
from adaptsr_cli.stages.common.training_data import open_reader, open_training_data

RESULTS: Final = Path(__file__).parent / "results"

PLAIN: Final = "real pairs"

# Name of the row, degradation of HR alone (None: the real pairs), alignment.
ROWS: Final = (
    ("HR only, `--degrade realesrgan`", "realesrgan", "none"),
    ("HR only, `--degrade phone`", "phone", "none"),
    ("HR only, `--degrade auto` (the HR photographs' own camera)", "auto", "none"),
    ("HR only, `--degrade auto:LR` (unpaired LR photographs of the camera)", "auto:", "none"),
    (PLAIN, None, "none"),
    ("real pairs, `--align shift`", None, "shift"),
)


def main() -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of real pairs")
    parser.add_argument("--hr", type=Path, required=True, help="folder of its HR side alone")
    parser.add_argument(
        "--model", type=Path, action="append", help="checkpoint, repeatable; left out: the embedded one"
    )
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--budget", default="8%")
    parser.add_argument("--few", action="store_true", help="leave out phone and auto")
    options = parser.parse_args()
    target = RESULTS / "training_data.json"
    known: list[dict[str, Any]] = json.loads(target.read_text(encoding="utf-8")) if target.exists() else []
    for model in options.model or [None]:
        for name, degrade, align in ROWS:
            if options.few and degrade in {"phone", "auto"}:
                continue
            key = {
                "network": model.name if model else "embedded SAFMN x4",
                "trained_on": name,
                "iterations": options.iterations,
                "budget": options.budget,
                "pairs": options.pairs.name,
            }
            if any(all(row[field] == value for field, value in key.items()) for row in known):
                continue
            plain = [row for row in known if row["network"] == key["network"] and row["trained_on"] == PLAIN]
            if align == "shift" and plain and not is_changed_by_alignment(options.pairs):
                # The training would be the same to the last bit.
                known.append({**plain[-1], **key, "note": "no pair is shifted by half a pixel: the same training"})
                write(known, target)
                continue
            with tempfile.TemporaryDirectory() as work:
                found = measure(Path(work) / "run", options, model, degrade, align)
            known.append({**key, "machine": describe_machine(torch.device("cpu")), **found})
            write(known, target)
            print(json.dumps(known[-1]), flush=True)
    print(to_markdown(known))


def write(known: list[dict[str, Any]], target: Path) -> None:
    """Write all rows."""
    RESULTS.mkdir(exist_ok=True)
    target.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    target.with_suffix(".md").write_text(to_markdown(known), encoding="utf-8")


def is_changed_by_alignment(pairs: Path) -> bool:
    """Whether `--align shift` moves or leaves out any pair."""
    plain, aligned = (
        open_training_data(DataSpec.of(pairs, align), None, 0, Silent()).train for align in ("none", "shift")
    )
    return [(pair.name, pair.shift) for pair in plain[0].pairs] != [
        (pair.name, pair.shift) for pair in aligned[0].pairs
    ]


def measure(
    run: Path, options: argparse.Namespace, model: Path | None, degrade: str | None, align: str
) -> dict[str, Any]:
    """One adaptation, scored on the real pairs that it did not train on."""
    assert align in {"none", "shift"}
    if degrade == "auto:":
        write_camera_photos(options.pairs, load_backbone(model or default_model()).scale, run.parent / "camera")
        degrade = f"auto:{run.parent / 'camera'}"
    job = AdaptOptions(
        run=run,
        model=str(model) if model else None,
        offline=True,
        data=str(options.pairs if degrade is None else options.hr),
        align="shift" if align == "shift" else "none",
        degrade=degrade,
        iterations=options.iterations,
        method="lora",
        learning_rate=2e-3,
        device="cpu",
        budget=options.budget,
        metrics="psnr,ssim",
        test=options.pairs,
    )
    done = run_adapt(job)
    before, after = (scores_of(done.evaluation, name) for name in ("backbone", "merged"))
    return {
        "held_out": sorted(image.name for image in done.evaluation.images),
        "seconds": round(done.training.card.wall_s, 1),
        "psnr_y_db": [round(before["psnr_y_db"], 3), round(after["psnr_y_db"], 3)],
        "ssim_y": [round(before["ssim_y"], 4), round(after["ssim_y"], 4)],
        "watched_gain_db": round(done.training.card.gain_db, 3),
    }


def write_camera_photos(pairs: Path, scale: int, folder: Path) -> None:
    """The LR sides of the pairs that may be trained on, as a network of this scale gets them."""
    data = open_training_data(DataSpec.of(pairs), None, 0, Silent())
    reader = open_reader(data.train, scale, None, 0, data.cache)
    for index in range(len(reader)):
        write_rgb(folder / f"{index:03d}.png", reader.read(index)[0])


def scores_of(evaluation: Evaluation, name: str) -> dict[str, float]:
    """The mean scores of one model."""
    return next(model.metrics for model in evaluation.models if model.name == name)


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as one table."""
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    lines = [
        f"Made by `python benchmarks/training_data.py` on {machines}.",
        "",
        "| network | trained on | PSNR-Y | SSIM-Y | gain |",
        "|---|---|---|---|---|",
    ]
    shown: set[str] = set()
    for row in rows:
        (before, after), (ssim_before, ssim_after) = row["psnr_y_db"], row["ssim_y"]
        if row["network"] not in shown:
            shown.add(row["network"])
            lines.append(f"| {row['network']} | nothing (backbone) | {before:.2f} dB | {ssim_before:.4f} | |")
        lines.append(
            f"| {row['network']} | {row['trained_on']} | {after:.2f} dB | {ssim_after:.4f} | {after - before:+.2f} dB"
            f"{'; ' + row['note'] if 'note' in row else ''} |"
        )
    first = rows[0]
    lines += [
        "",
        f"{first['pairs']} pairs, {len(first['held_out'])} held out; budget {first['budget']}, "
        f"{first['iterations']} iterations, one seed.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
