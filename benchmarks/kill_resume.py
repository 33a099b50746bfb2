"""Kills trainings with SIGKILL at random moments and lets the same command go on: is the result the same, bit for bit?

    python benchmarks/kill_resume.py --data PAIRS [--kills 20] [--iterations 200] [--model FILE]

One training runs undisturbed. Then, as often as asked, the same training is started in a new run folder, killed at a
random moment of its whole life (start-up, scoring of the backbone, steps, validations, writing), and started again.
Its adapter, log, samples and best score are compared with those of the undisturbed one, byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from adaptsr_cli.runtime import describe_machine

COMPARED = ("adapter.safetensors", "training/log.jsonl", "training/config.toml")


def main() -> None:
    """Run everything and write benchmarks/results/kill_resume.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of pairs")
    parser.add_argument("--model", default=None, help="checkpoint; left out: the embedded network")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--save-freq", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        report = measure(Path(work), options)
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "kill_resume.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = to_markdown(report)
    (results / "kill_resume.md").write_text(text, encoding="utf-8")
    print(text)
    sys.exit(report["identical"] != report["kills"])


def measure(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The undisturbed run, then the killed ones."""
    rng = random.Random(options.seed)
    straight = work / "straight"
    command_of(straight, options, iterations=1, wait=True)  # scores, allocates, fills the caches
    shutil.rmtree(straight / "training")
    (straight / "adapter.safetensors").unlink()
    prepared = work / "prepared"
    shutil.copytree(straight, prepared)
    begin = time.perf_counter()
    command_of(straight, options, wait=True)
    life_s = time.perf_counter() - begin
    rows: list[dict[str, Any]] = []
    while len(rows) < options.kills:
        folder = work / f"killed-{len(rows)}"
        shutil.copytree(prepared, folder)
        after_s = rng.uniform(0.2, life_s * 0.97)
        running = command_of(folder, options, wait=False)
        try:
            running.wait(timeout=after_s)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGKILL)
        if running.wait() != -signal.SIGKILL:  # it was faster than the undisturbed one
            shutil.rmtree(folder)
            continue
        reached, saved = last_logged(folder), last_saved(folder)
        partial = [path.name for path in folder.rglob(".partial-*")]
        command_of(folder, options, wait=True)
        differing = [name for name in compared(straight) if not same(straight / name, folder / name)]
        rows.append(
            {
                "after_s": round(after_s, 2),
                "logged_iteration": reached,
                "saved_iteration": saved,
                "temporary_files_left": len(partial),
                "differing": differing,
            }
        )
        print(f"kill {len(rows)}: {rows[-1]}", flush=True)
        shutil.rmtree(folder)
    return {
        "machine": describe_machine(torch.device("cpu")),
        "command": f"train --iterations {options.iterations} --batch {options.batch} --patch {options.patch} "
        f"--save-freq {options.save_freq} --seed 0 --device cpu",
        "undisturbed_s": round(life_s, 1),
        "kills": options.kills,
        "before_first_state": sum(row["saved_iteration"] is None for row in rows),
        "identical": sum(not row["differing"] for row in rows),
        "most_iterations_lost": max((row["logged_iteration"] or 0) - (row["saved_iteration"] or 0) for row in rows),
        "rows": rows,
    }


def command_of(
    folder: Path, options: argparse.Namespace, *, wait: bool, iterations: int | None = None
) -> subprocess.Popen[bytes]:
    """Start the training, the same words every time; wait for its good end if asked to."""
    words = [sys.executable, "-m", "adaptsr_cli", "train", "--data", options.data, "--run", folder, "--device", "cpu"]
    words += [
        "--method",
        "lora",
        "--lr",
        2e-3,
        "--iterations",
        iterations or options.iterations,
        "--batch",
        options.batch,
        "--patch",
        options.patch,
    ]
    words += ["--save-freq", options.save_freq, "--offline"]
    words += ["--model", options.model] if options.model else []
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    process = subprocess.Popen(
        [str(word) for word in words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    )
    if wait:
        _, errors = process.communicate()
        if process.returncode != 0:
            sys.exit(f"the training failed: {errors.decode()}")
    return process


def compared(straight: Path) -> list[str]:
    """What must be the same: adapter, log, options, and the samples of every validation."""
    samples = sorted(path.relative_to(straight).as_posix() for path in (straight / "training/samples").iterdir())
    return [*COMPARED, *samples]


def same(first: Path, second: Path) -> bool:
    """Whether two files hold the same bytes."""
    return second.is_file() and first.read_bytes() == second.read_bytes()


def last_logged(folder: Path) -> int | None:
    """The last iteration in a killed run's log, a torn last line left out; None where there is no log."""
    log = folder / "training/log.jsonl"
    if not log.exists():
        return None
    whole = log.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    return json.loads(whole[-1])["iteration"] if whole else None


def last_saved(folder: Path) -> int | None:
    """The iteration of a killed run's state; None where there is none. A damaged file is an error here."""
    state = folder / "training/state.safetensors"
    if not state.exists():
        return None
    with state.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return int(json.loads(header["__metadata__"]["adaptsr"])["iteration"])


def to_markdown(report: dict[str, Any]) -> str:
    """The result in a few lines."""
    return (
        f"Made by `python benchmarks/kill_resume.py` on {report['machine']}.\n\n"
        f"`{report['command']}`, {report['undisturbed_s']} s undisturbed; {report['kills']} runs, each killed once by "
        f"SIGKILL at a random moment of its life ({report['before_first_state']} had saved nothing yet), "
        f"then started again by the same command: "
        f"**{report['identical']} of {report['kills']}** ended with the same adapter, log, options and samples, byte "
        f"by byte. At most {report['most_iterations_lost']} logged iterations had to be repeated.\n"
    )


if __name__ == "__main__":
    main()
