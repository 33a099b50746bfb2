"""Whether `adaptsr eval` gives the figures that are known of genuine checkpoints on the usual test sets.

    python benchmarks/published.py --weights weights/ --data test_sr/

Takes Set5, Set14, BSD100 and Urban100, each as far as it is there (``--sets`` names others), and all checkpoints
(``--only`` names some). Rows of earlier calls that are not measured again are kept.

A figure is reproduced where the mean PSNR-Y is within 0.02 dB and the mean SSIM-Y within 0.001 of it. The
protocol is `paper`. A x2 network needs the x2 side, which is made from HR by Pillow's antialiased bicubic where the
folder has none; that is not MATLAB's to the last bit, and its rows say so. Writes ``benchmarks/results/published.json``
and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.evaluate.options import EvaluateOptions
from adaptsr_cli.stages.evaluate.stage import run_evaluate

ROOT = Path(__file__).resolve().parents[1]

PSNR_TOLERANCE_DB = 0.02
SSIM_TOLERANCE = 0.001


@dataclass(frozen=True)
class Subject:
    """A checkpoint and the figures that are known of it.

    Attributes:
        file: Below the folder of weights.
        scale: Upscaling factor.
        known: Set -> PSNR-Y in dB and SSIM-Y; None where nobody has stated it.
        source: Who states them.
    """

    file: str
    scale: int
    known: dict[str, tuple[float | None, float | None]]
    source: str


SUBJECTS = (
    Subject(
        "genuine/DCTLSA_x4.pt",
        4,
        {"Set5": (32.52, None), "Set14": (28.82, None)},
        "measured on this file apart from this package, by its authors' protocol",
    ),
    Subject(
        "genuine/SAFMN_x2_from_ncnn_fp16.safetensors",
        2,
        {"Set5": (38.00, None)},
        "measured on this file apart from this package",
    ),
    *(
        Subject(
            f"genuine/{file}",
            scale,
            {"Set5": (psnr_db, None)} if psnr_db else {},
            "measured on this file apart from this package",
        )
        for file, scale, psnr_db in (
            ("DAT_light_x4.pth", 4, 32.571),
            ("DAT_light_x3.pth", 3, None),
            ("DAT_light_x2.pth", 2, 38.251),
            ("SPAN_x4_ch48_from_ncnn_fp16.pth", 4, 32.203),
            ("SPAN_x2_ch48_from_ncnn_fp16.pth", 2, 38.088),
        )
    ),
    Subject("own/safmn_x4_bicubic.safetensors", 4, {"Set5": (31.59, None)}, "measured when it was trained"),
)


def main() -> None:
    """Score every checkpoint on every set and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["Set5", "Set14", "BSD100", "Urban100"])
    parser.add_argument("--only", nargs="+", default=[], help="parts of file names")
    options = parser.parse_args()
    results = ROOT / "benchmarks" / "results"
    sets = [name for name in options.sets if (options.data / name / "HR").is_dir()]
    for name in options.sets:
        if name not in sets:
            print(f"{name} is not in {options.data}: left out", file=sys.stderr)
    rows: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    for subject in SUBJECTS:
        if options.only and not any(part in subject.file for part in options.only):
            continue
        for name in sets:
            started = time.perf_counter()
            found = score(options.weights / subject.file, options.data / name, subject.scale)
            versions = found.versions
            rows.append(to_row(subject, name, found) | {"seconds": round(time.perf_counter() - started, 1)})
            print(json.dumps(rows[-1]), flush=True)
    measured = {(row["model"], row["set"]) for row in rows}
    earlier = results / "published.json"
    kept = json.loads(earlier.read_text(encoding="utf-8"))["rows"] if earlier.exists() else []
    rows = [row for row in kept if (row["model"], row["set"]) not in measured] + rows
    report = {"machine": describe_machine(pick_device("auto")), "versions": versions, "rows": rows}
    results.mkdir(parents=True, exist_ok=True)
    (results / "published.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (results / "published.md").write_text(to_markdown(report), encoding="utf-8")


def score(model: Path, folder: Path, scale: int) -> Evaluation:
    """The evaluation of one checkpoint on one set."""
    made_here = not (folder / "LR_bicubic" / f"X{scale}").is_dir()
    with tempfile.TemporaryDirectory() as run:
        options = EvaluateOptions(
            run=Path(run),
            data=(str(folder / "HR" if made_here else folder),),
            offline=True,
            models=(str(model),),
            metrics="psnr,ssim",
            degrade="bicubic" if made_here else None,
        )
        return run_evaluate(options).evaluation


def to_row(subject: Subject, name: str, found: Evaluation) -> dict[str, Any]:
    """Measured beside published."""
    model = found.models[0]
    known_psnr_db, known_ssim = subject.known.get(name, (None, None))
    psnr, ssim = model.metrics["psnr_y_db"], model.metrics["ssim_y"]
    spread = model.spread["psnr_y_db"]
    checks = [
        abs(measured - known) <= tolerance
        for measured, known, tolerance in (
            (psnr, known_psnr_db, PSNR_TOLERANCE_DB),
            (ssim, known_ssim, SSIM_TOLERANCE),
        )
        if known is not None
    ]
    return {
        "model": Path(subject.file).name,
        "set": name,
        "scale": found.scale,
        "images": len(found.images),
        "lr": "given" if all("lr" in image.file_sha256 for image in found.images) else "made here",
        "psnr_y_db": round(psnr, 3),
        "psnr_std_db": None if spread.std is None else round(spread.std, 3),
        "ssim_y": round(ssim, 4),
        "known_psnr_y_db": known_psnr_db,
        "known_ssim_y": known_ssim,
        "source": subject.source if checks else None,
        "reproduced": all(checks) if checks else None,
        "sha256": model.sha256,
    }


def to_markdown(report: dict[str, Any]) -> str:
    """The rows as a table."""
    lines = [
        f"Made by `python benchmarks/published.py` on {report['machine']}; protocol `paper`.",
        "",
        "| network | set | LR | PSNR-Y (std over images) | SSIM-Y | known | within 0.02 dB / 0.001 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        known = [
            text
            for text in (
                None if row["known_psnr_y_db"] is None else f"{row['known_psnr_y_db']:.2f} dB",
                None if row["known_ssim_y"] is None else f"{row['known_ssim_y']:.4f}",
            )
            if text
        ]
        verdict = {True: "yes", False: "**no**", None: ""}[row["reproduced"]]
        lines.append(
            f"| {row['model']} x{row['scale']} | {row['set']} ({row['images']}) | {row['lr']} "
            f"| {row['psnr_y_db']:.3f} dB ({row['psnr_std_db']:.2f}) | {row['ssim_y']:.4f} "
            f"| {' / '.join(known) or 'none at hand'} | {verdict} |"
        )
    sources = dict.fromkeys(f"{row['model']}: {row['source']}." for row in report["rows"] if row["source"])
    return "\n".join([*lines, "", "Where the known figures come from:", *(f"- {source}" for source in sources)]) + "\n"


if __name__ == "__main__":
    main()
