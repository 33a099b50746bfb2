"""What adapting to real cameras gains: `adaptsr adapt` with its defaults, on folders of real pairs.

    python benchmarks/real_pairs.py --pairs iphone/ ntire2019/ --models DCTLSA_x4.pt SAFMN_x2.safetensors

Always includes the embedded network. Scores are those that a user reads at the end: of the images that the run has kept
for the test, whole, by the protocol `paper`. Rows are appended to ``benchmarks/results/real_pairs.jsonl`` as they come,
and those that are there are not made again; the table ``real_pairs.md`` is made of what is there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from adaptsr_cli.io.cache_folder import CACHE_VARIABLE
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.adapt.options import AdaptOptions
from adaptsr_cli.stages.adapt.stage import run_adapt

RESULTS: Final = Path(__file__).parent / "results"
EMBEDDED: Final = "embedded SAFMN x4"


def main() -> None:
    """Adapt every network to every folder and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, nargs="*", default=[])
    parser.add_argument("--models", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    log = RESULTS / "real_pairs.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    with log.open("a", encoding="utf-8") as file:
        for model, pairs in product([None, *options.models], options.pairs):
            place = {"data": pairs.name, "network": model.stem if model else EMBEDDED}
            if any(place.items() <= row.items() for row in rows):
                continue
            rows.append(place | measure(pairs, model))
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
            print(rows[-1], flush=True)
    (RESULTS / "real_pairs.md").write_text(to_markdown(rows), encoding="utf-8")


def measure(pairs: Path, model: Path | None) -> dict[str, Any]:
    """One adaptation: scores before and after on images that it has never seen, what was trained, and the time."""
    with tempfile.TemporaryDirectory() as folder, patch.dict("os.environ", {CACHE_VARIABLE: f"{folder}/cache"}):
        job = AdaptOptions(
            run=Path(folder) / "run",
            model=str(model) if model else None,
            offline=True,
            data=str(pairs),
            metrics="psnr,ssim",
        )
        done = run_adapt(job)
    evaluation, card, search = done.evaluation, done.training.card, done.training.search
    assert evaluation is not None
    assert evaluation.seen == "nothing"
    assert search is not None
    assert search.winner is not None
    before, after = (model.metrics for model in evaluation.models)
    test = next(found for found in evaluation.comparisons if found.metric == "psnr_y_db")
    return {
        "method": search.winner.method,
        "learning_rate": search.winner.last_rate,
        "params": card.trainable_params,
        "network_params": card.total_params,
        "iterations": card.iterations,
        "best_iteration": card.best_iteration,
        "seconds": round(card.wall_s, 1),
        "test_images": len(evaluation.images),
        "improved": test.larger,
        "p_value": test.p_value,
        "psnr_y_db": [round(before["psnr_y_db"], 3), round(after["psnr_y_db"], 3)],
        "ssim_y": [round(before["ssim_y"], 4), round(after["ssim_y"], 4)],
        "machine": describe_machine(pick_device("auto")),
    }


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table."""
    lines = [
        "| pairs | network | found | PSNR-Y before -> after | SSIM-Y before -> after | better on | p | training |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        (psnr, psnr_after), (ssim, ssim_after) = row["psnr_y_db"], row["ssim_y"]
        lines.append(
            f"| {row['data']} | {row['network']} | {row['method']} {row['learning_rate']:.2g} "
            f"| {psnr:.2f} -> {psnr_after:.2f} dB (**{psnr_after - psnr:+.2f}**) "
            f"| {ssim:.4f} -> {ssim_after:.4f} | {row['improved']} of {row['test_images']} | {row['p_value']:.2g} "
            f"| {row['iterations']} iterations, {row['seconds']:.0f} s |"
        )
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    lines += ["", f"Made by `python benchmarks/real_pairs.py` on {machines}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
