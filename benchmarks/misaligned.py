"""What shifts between the sides cost a training, and what --align shift gives back.

    python benchmarks/misaligned.py --pairs real_pairs/iphone

Takes same-size pairs that are aligned to less than half a pixel, keeps every fifth for scoring as it is, and moves the
LR side of the others by whole pixels drawn from [-6, 6] along both axes (1.5 LR px at x4). Trains the embedded network
on the pairs as they were, on the moved ones, and on the moved ones with ``--align shift``; scores by the protocol
`paper` on the images kept. Writes ``benchmarks/results/misaligned.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from adaptsr_cli.data.layouts import find_pairs
from adaptsr_cli.data.sources import Align
from adaptsr_cli.io.images import read_rgb, write_rgb
from adaptsr_cli.stages.adapt.options import AdaptOptions
from adaptsr_cli.stages.adapt.stage import run_adapt

ROOT = Path(__file__).resolve().parents[1]

MAX_SHIFT_PX = 6
KEPT_EVERY = 5
CASES: tuple[tuple[str, str, Align], ...] = (
    ("as they are", "plain", "none"),
    ("LR side moved", "moved", "none"),
    ("LR side moved, --align shift", "moved", "shift"),
)


def main() -> None:
    """Train three times and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--iterations", type=int, default=60)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        write_cases(options.pairs, folder)
        for name, data, align in CASES:
            job = AdaptOptions(
                run=folder / f"run-{data}-{align}",
                offline=True,
                data=str(folder / data),
                align=align,
                iterations=options.iterations,
                method="lora",
                learning_rate=2e-3,
                metrics="psnr,ssim",
                score_batches=4,
                test=folder / "test",
            )
            before, after = (entry.metrics for entry in run_adapt(job).evaluation.models)
            rows.append(
                {
                    "pairs": name,
                    "psnr_y_db": [round(before["psnr_y_db"], 3), round(after["psnr_y_db"], 3)],
                    "ssim_y": [round(before["ssim_y"], 4), round(after["ssim_y"], 4)],
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    report = {"data": options.pairs.name, "iterations": options.iterations, "rows": rows}
    results = ROOT / "benchmarks" / "results"
    (results / "misaligned.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (results / "misaligned.md").write_text(to_markdown(report), encoding="utf-8")


def write_cases(pairs: Path, folder: Path) -> None:
    """The pairs as they are and moved, and those kept for scoring."""
    rng = np.random.default_rng(0)
    for index, pair in enumerate(find_pairs(pairs, role="train").pairs):
        assert pair.lr is not None
        lr, hr = read_rgb(pair.lr), read_rgb(pair.hr)
        if index % KEPT_EVERY == 0:
            write_pair(folder / "test", pair.name, lr, hr)
            continue
        down, right = (int(value) for value in rng.integers(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1, 2))
        inner = slice(MAX_SHIFT_PX, -MAX_SHIFT_PX)
        moved = np.roll(lr, (down, right), axis=(0, 1))[inner, inner]  # what wrapped round is cut off
        write_pair(folder / "plain", pair.name, lr[inner, inner], hr[inner, inner])
        write_pair(folder / "moved", pair.name, moved, hr[inner, inner])


def write_pair(folder: Path, name: str, lr: np.ndarray, hr: np.ndarray) -> None:
    """Both sides as PNG."""
    write_rgb(folder / "LR" / f"{name}.png", np.ascontiguousarray(lr))
    write_rgb(folder / "HR" / f"{name}.png", np.ascontiguousarray(hr))


def to_markdown(report: dict[str, Any]) -> str:
    """The rows as a table."""
    lines = [
        f"Made by `python benchmarks/misaligned.py` on {report['data']}, {report['iterations']} iterations.",
        "",
        "| training pairs | PSNR-Y before -> after | SSIM-Y before -> after |",
        "|---|---|---|",
    ]
    for row in report["rows"]:
        (psnr, psnr_after), (ssim, ssim_after) = row["psnr_y_db"], row["ssim_y"]
        lines.append(
            f"| {row['pairs']} | {psnr:.2f} -> {psnr_after:.2f} dB (**{psnr_after - psnr:+.2f}**) "
            f"| {ssim:.4f} -> {ssim_after:.4f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
