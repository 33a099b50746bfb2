"""Is the mean of the steps at a constant rate better than the last step of a falling one?

    python benchmarks/schedules.py --pairs cam1=FOLDER --network safmn_x4= --cell safmn_x4=full:1e-3 [--seeds 0 1]

Each cell, a method and its rate for a network, is trained once by each schedule; the split and the scores are those of
`auto_rate.py`. Trials are appended to ``benchmarks/results/schedules.jsonl`` as they end, and those that are there are
not run again; ``schedules.md`` is made of what is there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, Final
from unittest.mock import patch

from auto_rate import RESULTS, TEST_SHARE, Trial, run_trial

from adaptsr_cli.io.cache_folder import CACHE_VARIABLE

SCHEDULES: Final = ("cosine", "constant")


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", action="append", default=[], help="NAME=FOLDER with LR_samesize/ and HR/")
    parser.add_argument("--network", action="append", default=[], help="NAME=FILE, or NAME= for the embedded one")
    parser.add_argument("--cell", action="append", default=[], help="NETWORK=METHOD:RATE")
    parser.add_argument("--iterations", nargs="+", type=int, default=[60])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    log = RESULTS / "schedules.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    with tempfile.TemporaryDirectory() as work, patch.dict("os.environ", {CACHE_VARIABLE: f"{work}/cache"}):
        for iterations, seed, cell, data, schedule in product(
            options.iterations, options.seeds, options.cell, options.pairs, SCHEDULES
        ):
            network, _, chosen = cell.partition("=")
            method, _, rate = chosen.partition(":")
            trial = Trial(network, data.partition("=")[0], seed, iterations, method, float(rate))
            if any((row["trial"], row["schedule"]) == (asdict(trial), schedule) for row in rows):
                continue
            rows.append({"schedule": schedule, **run_trial(trial, Path(work), options, schedule=schedule)})
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(schedule, rows[-1]["trial"], f"{rows[-1]['gain_db']:+.3f} dB", flush=True)
    (RESULTS / "schedules.md").write_text(to_markdown(rows), encoding="utf-8")


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """A row for each cell: both schedules, and how far the constant one is ahead."""
    lines = [
        "| network | data | method, rate | iterations | seed | held-out crops: cosine, constant | test images: cosine, "
        "constant | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    found = {(row["schedule"], json.dumps(row["trial"])): row for row in rows}
    differences = []
    for key in dict.fromkeys(json.dumps(row["trial"]) for row in rows):
        pair = [found.get((schedule, key)) for schedule in SCHEDULES]
        if None in pair:
            continue
        trial = pair[0]["trial"]
        differences.append([row["gain_db"] - pair[0]["gain_db"] for row in pair][1])
        scores = " | ".join(
            ", ".join(f"{row[name]:+.3f}" for row in pair) + " dB" for name in ("held_out_gain_db", "gain_db")
        )
        lines.append(
            f"| {trial['network']} | {trial['data']} | {trial['method']} {trial['learning_rate']:.2g} "
            f"| {trial['iterations']} | {trial['seed']} | {scores} | {differences[-1]:+.3f} dB |"
        )
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    lines += [
        "",
        f"Constant above cosine on test images: {mean(differences):+.3f} dB on average, "
        f"in {sum(value > 0 for value in differences)} of {len(differences)}.",
        "",
        f"Made by `python benchmarks/schedules.py` on {machines}. PSNR-Y above the backbone's; test images: every "
        f"{TEST_SHARE}th pair, whole.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
