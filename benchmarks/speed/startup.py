"""How long commands take to start, and how much of it is imports.

    python benchmarks/speed/startup.py

Whole processes, medians: ``--help``, ``info`` on an artifact, and ``upscale`` of a small image by the embedded network;
beside them ``import torch`` alone, which is the floor of the last. Processor time as well as time by the clock. Writes
``benchmarks/results/speed_startup.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.runtime import describe_machine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"

SHOWN = ("torch", "torchvision", "spandrel", "scipy", "skimage", "numpy", "pydantic", "tifffile", "PIL", "adaptsr_cli")


def time_process(words: list[str], folder: Path, rounds: int) -> dict[str, float]:
    """Medians of the time by the clock and of processor time, in seconds."""
    wall_s, cpu_s = [], []
    for _ in range(rounds):
        before, begin = os.times(), time.perf_counter()
        subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True, env=environment())
        wall_s.append(time.perf_counter() - begin)
        after = os.times()
        cpu_s.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return {"wall_s": median(wall_s), "cpu_s": median(cpu_s)}


def environment() -> dict[str, str]:
    """This one, with the package to be found."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def profile_imports(words: list[str], folder: Path) -> dict[str, float]:
    """Seconds that each package's own modules took to import (what they draw in from others is counted there)."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env=environment(),
    )
    seconds = dict.fromkeys((*SHOWN, "others"), 0.0)
    for line in done.stderr.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) != 3 or not parts[0].strip().isdigit():
            continue
        package = parts[2].strip().partition(".")[0]
        seconds[package if package in seconds else "others"] += int(parts[0]) / 1e6
    return seconds


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    program = ["-m", "adaptsr_cli"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rgb(folder / "small.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        upscale = [*program, "upscale", "small.png", "--force"]
        time_process(upscale, folder, 1)  # compiles what is not compiled yet
        commands = {
            "--help": [*program, "--help"],
            "models": [*program, "models"],
            "info run.json": [*program, "info", "adaptsr-run/run.json"],
            "import torch": ["-c", "import torch"],
            "upscale of 64 x 64 px": upscale,
        }
        if not (folder / "adaptsr-run" / "run.json").exists():
            del commands["info run.json"]
        report: dict[str, Any] = {
            "machine": describe_machine(torch.device("cpu")),
            "commands": {title: time_process(words, folder, options.rounds) for title, words in commands.items()},
            "imports_of_upscale_s": profile_imports(upscale, folder),
        }
    (RESULTS / "speed_startup.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = to_markdown(report)
    (RESULTS / "speed_startup.md").write_text(text, encoding="utf-8")
    print(text)


def to_markdown(report: dict[str, Any]) -> str:
    """The tables."""
    lines = [
        f"Whole processes, {report['machine']}.",
        "",
        "| command | by the clock | processor time |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{title}` | {row['wall_s']:.2f} s | {row['cpu_s']:.2f} s |" for title, row in report["commands"].items()
    ]
    lines += ["", "| imports of `upscale` | own time |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} s |" for name, value in report["imports_of_upscale_s"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
