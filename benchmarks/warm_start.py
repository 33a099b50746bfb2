"""Is a network that was adapted to one camera a better start for another camera than the published one?

    python benchmarks/warm_start.py --pairs cam1=FOLDER --pairs cam2=FOLDER --network safmn_x4= \\
        --cell safmn_x4=full:1e-3 [--lengths 20 60] [--seeds 0 1 2]

Each network is adapted to each camera from the published weights and, by `--model`, from the model that was adapted to
each other camera in the longest of the lengths; all with the same steps, and with the method and the rate of its cell.
The split and the scores are those of `auto_rate.py`: gains on test images, over the published network. Trials are
appended to ``benchmarks/results/warm_start.jsonl`` as they end, and those that are there are not run again;
``warm_start.md`` is made of what is there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

from auto_rate import RESULTS, Trial, run_trial

from adaptsr_cli.io.cache_folder import CACHE_VARIABLE


@dataclass(frozen=True)
class Start:
    """A training from the model that was adapted to the camera `after`; from the published one where it is empty."""

    trial: Trial
    after: str


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", action="append", default=[], help="NAME=FOLDER with LR_samesize/ and HR/")
    parser.add_argument("--network", action="append", default=[], help="NAME=FILE, or NAME= for the embedded one")
    parser.add_argument("--cell", action="append", default=[], help="NETWORK=METHOD:RATE")
    parser.add_argument("--lengths", nargs="+", type=int, default=[20, 60])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    log = RESULTS / "warm_start.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    with tempfile.TemporaryDirectory() as work, patch.dict("os.environ", {CACHE_VARIABLE: f"{work}/cache"}):
        for start in list_starts(options):
            if any(row["start"] == asdict(start) for row in rows):
                continue
            row = {"start": asdict(start), **run_start(start, Path(work), options)}
            rows.append(row)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(row["start"], f"{row['gain_db']:+.3f} dB over its start", flush=True)
    log.with_suffix(".md").write_text(to_markdown(rows), encoding="utf-8")


def list_starts(options: argparse.Namespace) -> Iterator[Start]:
    """Every camera from the published network and from each other camera's, seed by seed."""
    cameras = [text.partition("=")[0] for text in options.pairs]
    for seed, cell, data, iterations in product(options.seeds, options.cell, cameras, options.lengths):
        network, _, chosen = cell.partition("=")
        method, _, rate = chosen.partition(":")
        trial = Trial(network, data, seed, iterations, method, float(rate))
        for after in ("", *(camera for camera in cameras if camera != data)):
            yield Start(trial, after)


def run_start(start: Start, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One training; the model that it starts from is made first, once for a network, a camera and a seed."""
    trial = start.trial
    if not start.after:
        return run_trial(trial, work, options)
    name = f"{trial.network}-after-{start.after}-{trial.seed}"
    model = work / f"{name}.safetensors"
    if not model.exists():
        run_trial(replace(trial, data=start.after, iterations=max(options.lengths)), work, options)
        shutil.copy(work / "run" / "merged.safetensors", model)
    adapted = argparse.Namespace(**{**vars(options), "network": [f"{name}={model}"]})
    return run_trial(replace(trial, network=name), work, adapted)


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """A line for each network, camera and start: the mean gain over the published network by length."""
    published = {place_of(row): row["backbone_db"] for row in rows if not row["start"]["after"]}
    groups: dict[tuple[str, str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        trial = row["start"]["trial"]
        if place_of(row) in published:
            gain = row["backbone_db"] + row["gain_db"] - published[place_of(row)]
            key = trial["network"], trial["data"], row["start"]["after"]
            groups[key][trial["iterations"]].append(gain)
    lengths = sorted({length for by_length in groups.values() for length in by_length})
    lines = [
        "| network | camera | start | seeds |" + "".join(f" {length} steps |" for length in lengths),
        "|---|---|---|---|" + "---|" * len(lengths),
    ]
    for (network, data, after), by_length in sorted(groups.items()):
        start = f"adapted to {after}" if after else "published"
        gains = "".join(f" {mean(by_length[length]):+.3f} dB |" if by_length[length] else " |" for length in lengths)
        lines.append(f"| {network} | {data} | {start} | {max(map(len, by_length.values()))} |{gains}")
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    return "\n".join([*lines, "", f"Made by `python benchmarks/warm_start.py` on {machines}."]) + "\n"


def place_of(row: dict[str, Any]) -> tuple[str, str, int]:
    """Network, camera and seed of a training."""
    trial = row["start"]["trial"]
    return trial["network"], trial["data"], trial["seed"]


if __name__ == "__main__":
    main()
