"""Is the rate that `train` finds by itself as good as the best of a grid, on images that the search never sees?

    python benchmarks/auto_rate.py --pairs ntire=FOLDER --network safmn_x2=FILE [--iterations 300] [--seeds 1]

Every fifth pair is a test pair and looked at once, at the end; the others are split as ever. With ``--folds 5`` each
pair is a test pair of one of five trainings, so that all are scored. Each trial is a training with the defaults
(``auto``: method and rate by the search), or at one cell of a grid of five rates and two methods, with the same steps,
without recoloured crops, which came after the first rows; by ``--lora-too`` also with a search between the rates of
``lora`` alone. By ``--beside`` there is no grid: half and twice the rate that the search found are tried, and on from
the best until both its neighbours are lower, for each seed and for the means over seeds. That is the best cell of the
grid where the gain rises to one rate and falls behind it. They share scores and ranks. Trials are appended to
``benchmarks/results/auto_rate.jsonl`` as they end, and those that are there are not run again; the table
``auto_rate.md`` is made of what is there, and of rows of older code in ``auto_rate_before.jsonl``, whose place newer
ones have taken. With ``--recolour`` the trainings have recoloured crops, as by default, and the files are named
``auto_rate_recolour``. ``--most N`` ends after N trials. ``--network NAME=`` is the embedded one. By ``--work FOLDER``,
which is kept, the same command goes on with a training that was broken off: some take an hour.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice, product
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from auto_rate_table import GRID, TEST_SHARE, Choice, cells_of, missing_beside, to_markdown

from adaptsr_cli.io.cache_folder import CACHE_VARIABLE
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.allocate.options import AllocateOptions
from adaptsr_cli.stages.allocate.stage import run_allocate
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.evaluate.options import EvaluateOptions
from adaptsr_cli.stages.evaluate.stage import run_evaluate
from adaptsr_cli.stages.merge.options import MergeOptions
from adaptsr_cli.stages.merge.stage import run_merge
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.score.stage import run_score
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.stage import run_train

RESULTS: Final = Path(__file__).parent / "results"
FP32: Final[dict[str, Any]] = {"precision": "fp32"}  # with bf16 rows of other CPUs could not stand beside these


@dataclass(frozen=True)
class Trial:
    """One training; `learning_rate` is None where the search finds it, and `fold` says which pairs are the test's."""

    network: str
    data: str
    seed: int
    iterations: int
    method: Choice
    learning_rate: float | None
    fold: int = 0


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", action="append", default=[], help="NAME=FOLDER with LR_samesize/ and HR/")
    parser.add_argument("--network", action="append", default=[], help="NAME=FILE, or NAME= for the embedded one")
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=1, choices=range(1, TEST_SHARE + 1))
    parser.add_argument("--most", type=int, default=None, help="trials to run at most")
    parser.add_argument("--work", type=Path, default=None, help="folder to work in, and to go on in")
    parser.add_argument("--only-auto", action="store_true", help="no grid")
    parser.add_argument("--beside", action="store_true", help="no grid; the rates beside the one that is found")
    parser.add_argument("--lora-too", action="store_true", help="search between rates of lora too")
    parser.add_argument("--recolour", action="store_true", help="with the recoloured crops of the default")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    name = "auto_rate_recolour" if options.recolour else "auto_rate"
    more = {} if options.recolour else {"recolour": 0.0}
    command = "auto_rate.py --recolour" if options.recolour else "auto_rate.py"
    log, table = RESULTS / f"{name}.jsonl", RESULTS / f"{name}.md"
    done, before = read_rows(log), read_rows(RESULTS / f"{name}_before.jsonl")
    known = [{"fold": 0, **row["trial"]} for row in done]
    missing = [trial for trial in list_trials(options) if asdict(trial) not in known]
    print(f"{len(missing)} trials to run, {len(done)} known", flush=True)
    with (
        tempfile.TemporaryDirectory() if options.work is None else nullcontext(options.work.resolve()) as work,
        patch.dict("os.environ", {CACHE_VARIABLE: f"{work}/cache"}),
        log.open("a", encoding="utf-8") as file,
    ):
        for trial in islice(chain(missing, list_beside(options, done)), options.most):
            row = run_trial(trial, Path(work), options, goes_on=options.work is not None, **more)
            file.write(json.dumps(row) + "\n")
            file.flush()
            done.append(row)
            print(row["trial"], f"{row['gain_db']:+.3f} dB", flush=True)
            table.write_text(to_markdown(done, before, command), encoding="utf-8")
    table.write_text(to_markdown(done, before, command), encoding="utf-8")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The trainings of a file, none where there is no such file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def list_trials(options: argparse.Namespace) -> Iterator[Trial]:
    """All trials: for every seed, network and data set the default, lora at a rate found for it, then the grid."""
    cells: list[tuple[Choice, float | None]] = [("auto", None)]
    cells += [("lora", None)] if options.lora_too else []
    cells += [] if options.only_auto or options.beside else [(method, rate) for method, rate in GRID]  # type: ignore[misc]
    places = product(range(options.seeds), options.network, options.pairs, range(options.folds), cells)
    for seed, network, data, fold, (method, rate) in places:
        names = (text.partition("=")[0] for text in (network, data))
        yield Trial(*names, seed, options.iterations, method, rate, fold)


def list_beside(options: argparse.Namespace, done: list[dict[str, Any]]) -> Iterator[Trial]:
    """The cells beside the best ones so far, of each seed and then of their means, as long as one is missing.

    `done` grows as they are run.
    """
    defaults = [trial for trial in list_trials(options) if trial.method == "auto"] if options.beside else []
    together = [[trial for trial in defaults if set_of(trial) == first] for first in map(set_of, defaults)]
    for seeds in (*([trial] for trial in defaults), *(seeds for seeds in together if len(seeds) > 1)):
        while missing := missing_beside(found := [cells_of(rows_at(trial, done)) for trial in seeds]):
            method, rate = missing[0]
            place = next(trial for trial, cells in zip(seeds, found, strict=True) if missing[0] not in cells)
            yield replace(place, method=method, learning_rate=rate)


def set_of(trial: Trial) -> Trial:
    """The first of the trials of which the means are taken together: all seeds, and of the other folds all."""
    return replace(trial, seed=0, fold=min(trial.fold, 1))


def rows_at(place: Trial, done: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The trainings of this network, data, seed, length and fold."""
    fixed = {key: value for key, value in asdict(place).items() if key not in ("method", "learning_rate")}
    return [row for row in done if fixed.items() <= row["trial"].items()]


def value_of(name: str, texts: list[str]) -> str:
    """What stands behind ``NAME=``."""
    return next(text.partition("=")[2] for text in texts if text.partition("=")[0] == name)


def prepare(trial: Trial, work: Path, options: argparse.Namespace) -> tuple[RunFolder, Path, dict[str, Any]]:
    """A run with scores and ranks, made once for all trials on a network and data; its data, and shared options."""
    folder, model = Path(value_of(trial.data, options.pairs)), value_of(trial.network, options.network) or None
    names = sorted(path.name for path in (folder / "HR").iterdir() if path.suffix == ".png")
    tested = names[trial.fold :: TEST_SHARE]
    data = work / f"{trial.data}-{trial.fold}"
    for part, chosen in {"train": [name for name in names if name not in tested], "test": tested}.items():
        for side in ("LR_samesize", "HR"):
            target = data / part / side
            target.mkdir(parents=True, exist_ok=True)
            for name in chosen:
                if not (target / name).exists():
                    (target / name).symlink_to((folder / side / name).resolve())
    shared: dict[str, Any] = {"model": model, "offline": True, "device": options.device}
    test = data / "test"  # named, so that no further part is kept for the test
    run = RunFolder(work / f"{trial.network}-{data.name}-{trial.seed}")
    if not run.rank_map.exists():
        images = str(data / "train")
        scoring = ScoreOptions(run=run.root, data=images, test=test, batches=8, seed=trial.seed, **FP32, **shared)
        run_score(scoring)
        run_allocate(AllocateOptions(run=run.root))
    return run, data, shared


def run_trial(
    trial: Trial, work: Path, options: argparse.Namespace, *, goes_on: bool = False, **more: Any
) -> dict[str, Any]:
    """One training, with `more` of its options, merged and scored on the test pairs.

    By `goes_on` it may have been begun in `work` before, by the same call.
    """
    scored, data, shared = prepare(trial, work, options)
    run = RunFolder(work / ("-".join(["run", *map(str, asdict(trial).values())]) if goes_on else "run"))
    if not (goes_on and run.rank_map.exists()):
        shutil.rmtree(run.root, ignore_errors=True)
        run.root.mkdir()
        for path in (scored.record, scored.saliency, scored.directions, scored.rank_map):
            shutil.copy(path, run.root)
    trained = run_train(
        TrainOptions(
            run=run.root,
            data=str(data / "train"),
            test=data / "test",
            seed=trial.seed,
            iterations=trial.iterations,
            method=trial.method,
            learning_rate=trial.learning_rate,
            **shared,
            **(FP32 | more),
        )
    )
    run_merge(MergeOptions(run=run.root, force=goes_on, **shared))
    test = EvaluateOptions(run=run.root, data=str(data / "test"), metrics="psnr", offline=True, device=options.device)
    evaluation = run_evaluate(test).evaluation
    (old, before), (new, after) = ((model.name, model.metrics["psnr_y_db"]) for model in evaluation.models)
    by_image = {
        image.name: round(image.models[new]["psnr_y_db"] - image.models[old]["psnr_y_db"], 4)
        for image in evaluation.images
    }
    search = trained.search
    winner = None if search is None else search.winner
    return {
        "trial": asdict(trial),
        "found": None if winner is None else {"method": winner.method, "learning_rate": winner.last_rate},
        "search": None if search is None else search.table()[1],
        "lost_iterations": 0 if search is None else search.lost_iterations,
        "held_out_gain_db": round(trained.card.gain_db, 4),
        "backbone_db": round(before, 4),
        "gain_db": round(after - before, 4),
        "gain_db_by_image": by_image,
        "broken_colours": [chart.broken[old], chart.broken[new]] if (chart := evaluation.colour_chart) else None,
        "best_iteration": trained.card.best_iteration,
        "rate_cuts": [cut.model_dump() for cut in trained.card.rate_cuts],
        "seconds": round(trained.card.wall_s, 1),
        "machine": describe_machine(pick_device(options.device)),
    }


if __name__ == "__main__":
    main()
