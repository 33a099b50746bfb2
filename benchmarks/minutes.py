"""Does ``train --minutes M`` take M minutes, with its planning, search and validations?

    python benchmarks/minutes.py --data FOLDER [--model FILE] [--minutes 1 2 5]

Scores and ranks are made before. ``took`` is from the plan's first step to the end of the training, by the clock on the
wall, as for the user; ``whole command`` has the checks of the images and the loading of the network too. Written to
``benchmarks/results/minutes.md``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Final
from unittest.mock import patch

from adaptsr_cli.io.cache_folder import CACHE_VARIABLE
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.allocate.options import AllocateOptions
from adaptsr_cli.stages.allocate.stage import run_allocate
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.score.stage import run_score
from adaptsr_cli.stages.train import stage
from adaptsr_cli.stages.train.options import TrainOptions

RESULTS: Final = Path(__file__).parent / "results"


def main() -> None:
    """Train for each time and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default=None, help="left out: the embedded network")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1.0, 2.0, 5.0])
    options = parser.parse_args()
    lines = ["| minutes | took | of them | iterations | search | whole command | machine's load |", "|" + "---|" * 7]
    for minutes in options.minutes:
        with tempfile.TemporaryDirectory() as work, patch.dict("os.environ", {CACHE_VARIABLE: f"{work}/cache"}):
            lines.append(train(minutes, options.data, options.model, Path(work) / "run"))
            print(lines[-1], flush=True)
    lines += ["", f"Made by `python benchmarks/minutes.py` on {describe_machine(pick_device('auto'))}."]
    (RESULTS / "minutes.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def train(minutes: float, data: str, model: str | None, run: Path) -> str:
    """One training; its row."""
    run_score(ScoreOptions(run=run, data=data, model=model, offline=True, batches=8))
    run_allocate(AllocateOptions(run=run))
    begun = []

    def plan(*args: object, **keywords: object) -> object:
        begun.append(time.perf_counter())
        return planning(*args, **keywords)  # type: ignore[arg-type]

    planning, begin = stage.plan_training, time.perf_counter()
    with patch.object(stage, "plan_training", plan):
        result = stage.run_train(TrainOptions(run=run, data=data, model=model, offline=True, minutes=minutes))
    end = time.perf_counter()
    took_s, search = end - begun[0], result.search
    return (
        f"| {minutes:g} | {took_s:.1f} s | {took_s / (60 * minutes):.0%} | {result.card.iterations} "
        f"| {'none' if search is None else f'{len(search.trials)} trials'} | {end - begin:.1f} s "
        f"| {os.getloadavg()[0]:.1f} |"
    )


if __name__ == "__main__":
    main()
