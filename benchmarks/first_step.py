"""How far is the first step of a training from being in proportion to the learning rate, and where does a search begin?

    python benchmarks/first_step.py --pairs iphone=FOLDER --network span_x4=FILE --network safmn_x4=

The step of Adam after the first batch is taken at many rates, from the backbone, and the change of the pictures is set
in relation to that at a very low rate. Rows are appended to ``benchmarks/results/first_step.jsonl``, and those that
are there are not made again; ``first_step.md`` is made of what is there. ``--network NAME=`` is the embedded network.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args
from unittest.mock import patch

from auto_rate import RESULTS, Trial, prepare

from adaptsr_cli.adapters.attach import detach
from adaptsr_cli.adapters.methods import METHODS
from adaptsr_cli.artifacts.base import Method
from adaptsr_cli.artifacts.train_config import OptimizerName
from adaptsr_cli.distributed import SINGLE_PROCESS
from adaptsr_cli.io.cache_folder import CACHE_VARIABLE
from adaptsr_cli.progress import SILENT
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.common.open_run import open_run
from adaptsr_cli.stages.train.init import choose_init
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.rank_plan import open_rank_plan
from adaptsr_cli.stages.train.setup import TrainingInputs, make_trainer, open_readers
from adaptsr_cli.training.presets import TRAIN_PRESETS
from adaptsr_cli.training.step_bound import FirstStep, bound_rate
from adaptsr_cli.training.validation import Validator

RATES: Final = (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)
LOW_RATE: Final = 1e-6
CHOSEN: Final[tuple[Method, ...]] = ("lora", "full")


def main() -> None:
    """Measure what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", action="append", default=[], help="NAME=FOLDER with LR_samesize/ and HR/")
    parser.add_argument("--network", action="append", default=[], help="NAME=FILE, or NAME= for the embedded one")
    parser.add_argument("--optimizer", default="muon", choices=get_args(OptimizerName))
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    log = RESULTS / "first_step.jsonl"
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    with tempfile.TemporaryDirectory() as work, patch.dict("os.environ", {CACHE_VARIABLE: f"{work}/cache"}):
        for network in options.network:
            for data in options.pairs:
                trial = Trial(network.partition("=")[0], data.partition("=")[0], 0, 60, "auto", None)
                place = trial.network, trial.data, options.optimizer
                if any((row["network"], row["data"], row["optimizer"]) == place for row in rows):
                    continue
                for row in measure(trial, Path(work), options):
                    rows.append(row)
                    with log.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
    (RESULTS / "first_step.md").write_text(to_markdown(rows), encoding="utf-8")


def measure(trial: Trial, work: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The changes by the first step of each method on one network and data set."""
    scored, data, shared = prepare(trial, work, options)
    shared |= {"optimizer": options.optimizer, "seed": trial.seed}
    asked = TrainOptions(run=scored.root, data=str(data / "train"), test=data / "test", **shared)
    device = pick_device(options.device)
    with open_run(asked, SILENT, SINGLE_PROCESS) as opened:
        plan = open_rank_plan(asked, opened, SILENT, SINGLE_PROCESS)
        readers = open_readers(asked, opened, SILENT, SINGLE_PROCESS)
        validator = Validator(readers.held_out, opened.backbone.scale)
        inputs = TrainingInputs(opened, plan, readers, validator, device, SINGLE_PROCESS)
        for method in CHOSEN:
            usual = TRAIN_PRESETS["fast"].learning_rate * METHODS[method].learning_rate_factor
            settled = choose_init(asked.model_copy(update={"method": method, "learning_rate": usual}), plan, SILENT)
            trainer = make_trainer(settled, inputs, scored, SILENT)
            step = FirstStep(trainer)
            slope = step.change(LOW_RATE) / LOW_RATE
            yield {
                "network": trial.network,
                "data": trial.data,
                "optimizer": options.optimizer,
                "method": method,
                "usual": usual,
                "begins_at": bound_rate(step, usual),
                "levels_at_1e-3": 255 * slope * 1e-3,
                "times_proportion": {f"{rate:g}": step.change(rate) / (slope * rate) for rate in RATES},
                "machine": describe_machine(device),
            }
            detach(trainer.attachment)


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """A row for each network, data set and method."""
    lines = [
        "| network | data | optimizer | method | grey levels in proportion at 1e-3 | "
        + " | ".join(f"{rate:g}" for rate in RATES)
        + " | preset's rate | search begins at |",
        "|---" * (len(RATES) + 7) + "|",
    ]
    for row in rows:
        times = " | ".join(f"{value:.3g}" for value in row["times_proportion"].values())
        lines.append(
            f"| {row['network']} | {row['data']} | {row['optimizer']} | {row['method']} | {row['levels_at_1e-3']:.1f} "
            f"| {times} | {row['usual']:.2g} | {row['begins_at']:.2g} |"
        )
    lines += [
        "",
        f"Made by `python benchmarks/first_step.py` on {', '.join(sorted({row['machine'] for row in rows}))}.",
        "Change of the pictures (root mean square) by the first step at a learning rate, as a multiple of that in",
        "proportion to the rate.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
