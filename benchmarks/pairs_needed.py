"""How many pairs does a camera need? Gain on test images against the number of training pairs.

    python benchmarks/pairs_needed.py --pairs iphone=PATH --pairs ntire=PATH [--device cuda --jobs 6]

Every trial trains the embedded network by ``adaptsr adapt`` on the first n pairs of a shuffled list (one shuffle a
seed) and scores it on test pairs that are the same for all trials and are looked at once, at the end. One further pair
says only whether the trained adapter or the backbone is kept; the number of iterations is fixed. Trials are appended to
``benchmarks/results/pairs_needed.jsonl`` as they end, and those that are there are not run again; the table and the
picture are ``pairs_needed.md`` and ``.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch

from adaptsr_cli.runtime import describe_machine

RESULTS: Final = Path(__file__).parent / "results"
COUNTS: Final = (1, 2, 4, 8, 16, 27)
LEARNING_RATE: Final = 2e-3  # the same for all trials, as a search would give each its own
TEST_SHARE: Final = 5  # every fifth pair is a test pair


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        camera: Name of the folder of pairs.
        pairs: How many it trains on.
        seed: Of the choice of the pairs and of the training.
        iterations: Optimiser steps.
    """

    camera: str
    pairs: int
    seed: int
    iterations: int


def main() -> None:
    """Run what is missing and write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", action="append", required=True, help="NAME=FOLDER with LR_samesize/ and HR/")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at the same time")
    parser.add_argument("--threads", type=int, default=1, help="of each training")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    folders = {name: Path(folder) for name, _, folder in (text.partition("=") for text in options.pairs)}
    log = options.output / "pairs_needed.jsonl"
    done = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    known = [row["trial"] for row in done]
    missing = [trial for trial in list_trials(folders, options) if asdict(trial) not in known]
    print(f"{len(missing)} trials to run, {len(done)} known", flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.jobs) as pool, log.open("a", encoding="utf-8") as file:
        for row in pool.map(lambda trial: run_trial(trial, folders[trial.camera], options), missing):
            file.write(json.dumps(row) + "\n")
            file.flush()
            done.append(row)
            print(row["trial"], f"{row['gain_db']:+.3f} dB", flush=True)
    (options.output / "pairs_needed.md").write_text(to_markdown(done), encoding="utf-8")
    draw(done, options.output / "pairs_needed.png")


def list_trials(folders: dict[str, Path], options: argparse.Namespace) -> Iterator[Trial]:
    """All trials, those of few pairs first."""
    for count in COUNTS:
        for camera, folder in folders.items():
            most = len(split(folder, 0)[0])
            if count <= most or count == COUNTS[-1]:
                for seed in range(options.seeds):
                    yield Trial(camera, min(count, most), seed, options.iterations)


def split(folder: Path, seed: int) -> tuple[list[str], str, list[str]]:
    """Training names in the seed's order, the one pair that validates, and the test names."""
    names = sorted(path.name for path in (folder / "HR").iterdir() if path.suffix == ".png")
    test = names[::TEST_SHARE]
    rest = [name for name in names if name not in test]
    validation = rest.pop(len(rest) // 2)
    random.Random(seed).shuffle(rest)
    return rest, validation, test


def run_trial(trial: Trial, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One training as a user starts it, and what its evaluation says."""
    training, validation, test = split(folder, trial.seed)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for name, chosen in (("train", training[: trial.pairs]), ("val", [validation]), ("test", test)):
            for side, source in (("lr", "LR_samesize"), ("hr", "HR")):
                (work / name / side).mkdir(parents=True)
                for file in chosen:
                    (work / name / side / file).symlink_to((folder / source / file).resolve())
        words: list[object] = ["adapt", "--data", work / "train", "--val", work / "val", "--test", work / "test"]
        words += ["--iterations", trial.iterations, "--val-freq", trial.iterations, "--seed", trial.seed]
        words += [
            "--method",
            "lora",
            "--lr",
            LEARNING_RATE,
            "--metrics",
            "psnr,ssim",
            "--run",
            work / "run",
            "--device",
            options.device,
            "--json",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
        command = [sys.executable, "-m", "adaptsr_cli", *map(str, words)]
        ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if ended.returncode:
            raise SystemExit(f"{trial}: {ended.stderr[-1000:]}")
        evaluation = json.loads((work / "run" / "eval.json").read_text(encoding="utf-8"))
    before, after = (model["metrics"] for model in evaluation["models"])
    return {
        "trial": asdict(trial),
        "backbone_db": before["psnr_y_db"],
        "adapted_db": after["psnr_y_db"],
        "gain_db": after["psnr_y_db"] - before["psnr_y_db"],
        "ssim_gain": after["ssim_y"] - before["ssim_y"],
        "test_images": len(test),
        "device": options.device,
    }


def group(rows: list[dict[str, Any]]) -> dict[str, dict[int, list[float]]]:
    """Gains in dB by camera and number of pairs."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in sorted(rows, key=lambda row: row["trial"]["pairs"]):
        found.setdefault(row["trial"]["camera"], {}).setdefault(row["trial"]["pairs"], []).append(row["gain_db"])
    return found


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """One row for each camera and number of pairs."""
    lines = [
        "| camera | pairs | seeds | gain in dB PSNR-Y, mean ± deviation over seeds | share of the gain of most pairs |"
    ]
    lines.append("|---|---|---|---|---|")
    for camera, by_count in group(rows).items():
        most = mean(by_count[max(by_count)])
        for count, gains in by_count.items():
            spread = stdev(gains) if len(gains) > 1 else 0.0
            share = f"{mean(gains) / most:.0%}" if most > 0 else ""
            lines.append(f"| {camera} | {count} | {len(gains)} | {mean(gains):+.3f} ± {spread:.3f} | {share} |")
    machine = describe_machine(torch.device("cpu"))
    lines += [
        "",
        f"Made by `python benchmarks/pairs_needed.py` on {machine}: embedded SAFMN x4,",
        f"{rows[0]['trial']['iterations']} iterations, budget 8 %. Test images are never looked at before the end; one",
        "further pair says only whether the adapter or the backbone is kept: a gain of exactly 0 is the backbone.",
    ]
    return "\n".join(lines) + "\n"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Gain against the number of pairs, a line a camera, a dot a seed."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for camera, by_count in group(rows).items():
        line = axes.plot(list(by_count), [mean(gains) for gains in by_count.values()], marker="o", label=camera)[0]
        for count, gains in by_count.items():
            axes.plot([count] * len(gains), gains, ".", color=line.get_color(), alpha=0.4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
    axes.set_xlabel("training pairs")
    axes.set_ylabel("gain, dB PSNR-Y")
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
