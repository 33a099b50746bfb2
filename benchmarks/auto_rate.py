"""Is the rate that `train` finds by itself as good as the best of a grid, on images that the search never sees?

    python benchmarks/auto_rate.py --pairs ntire=FOLDER --network safmn_x2=FILE [--iterations 300] [--seeds 1]

Every fifth pair is a test pair and looked at once, at the end; the others are split as ever. With ``--folds 5`` each
pair is a test pair of one of five trainings, so that all are scored. Each trial is a training with the defaults
(``auto``: method and rate by the search), or at one cell of a grid of five rates and two methods, with the same
steps; by ``--lora-too`` also with a search between the rates of ``lora`` alone. By ``--beside`` there is no grid: half
and twice the rate that the search found are tried, and on from the best until both its neighbours are lower. That is
the best cell of the grid where the gain rises to one rate and falls behind it. They share scores and ranks. Trials
are appended to ``benchmarks/results/auto_rate.jsonl`` as they end, and those that are there are not run again; the
table ``auto_rate.md`` is made of what is there. ``--most N`` ends after N trials. ``--network NAME=`` is the embedded
one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain, islice, product
from pathlib import Path
from statistics import mean
from typing import Any, Final, Literal
from unittest.mock import patch

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
TEST_SHARE: Final = 5  # every fifth pair is a test pair
GRID: Final = (
    *((method, rate) for rate in (5e-4, 2e-3, 2.5e-4, 1e-3, 4e-3) for method in ("lora", "full")),
)  # the likeliest first
MARGIN_DB: Final = 0.03
BEST_ON: Final = {"held_out_gain_db": "held-out crops", "gain_db": "test images"}
"""By what the cell of a grid that the default stands beside is chosen."""

WHOLE: Final = "whole grid"
BESIDE: Final = "rates beside"

Choice = Literal["auto", "lora", "full"]
Cell = tuple[Choice, float]
"""Method and rate."""


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
    parser.add_argument("--only-auto", action="store_true", help="no grid")
    parser.add_argument("--beside", action="store_true", help="no grid; the rates beside the one that is found")
    parser.add_argument("--lora-too", action="store_true", help="search between rates of lora too")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    log = RESULTS / "auto_rate.jsonl"
    done = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    known = [{"fold": 0, **row["trial"]} for row in done]
    missing = [trial for trial in list_trials(options) if asdict(trial) not in known]
    print(f"{len(missing)} trials to run, {len(done)} known", flush=True)
    with (
        tempfile.TemporaryDirectory() as work,
        patch.dict("os.environ", {CACHE_VARIABLE: f"{work}/cache"}),
        log.open("a", encoding="utf-8") as file,
    ):
        for trial in islice(chain(missing, list_beside(options, done)), options.most):
            row = run_trial(trial, Path(work), options)
            file.write(json.dumps(row) + "\n")
            file.flush()
            done.append(row)
            print(row["trial"], f"{row['gain_db']:+.3f} dB", flush=True)
            (RESULTS / "auto_rate.md").write_text(to_markdown(done), encoding="utf-8")
    (RESULTS / "auto_rate.md").write_text(to_markdown(done), encoding="utf-8")


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
    """The cells beside the best ones so far, as long as one is missing in `done`, which grows as they are run."""
    for default in list_trials(options) if options.beside else ():
        if default.method != "auto":
            continue
        place = {key: value for key, value in asdict(default).items() if key not in ("method", "learning_rate")}
        while missing := missing_beside([row for row in done if place.items() <= row["trial"].items()]):
            method, rate = missing[0]
            yield Trial(**place, method=method, learning_rate=rate)


def cell_of(row: dict[str, Any]) -> Cell | None:
    """Where in the grid a training stands: the default where its search ended, as which it ends bit for bit.

    None where no search found a rate, and where one was between rates of lora alone.
    """
    cell = row["found"] if row["trial"]["method"] == "auto" else row["trial"]
    if cell is None or cell["learning_rate"] is None:
        return None
    return cell["method"], float(f"{cell['learning_rate']:.4g}")


def cells_of(rows: list[dict[str, Any]]) -> dict[Cell, dict[str, Any]]:
    """The trainings of one group by their cells."""
    return {cell: row for row in rows if (cell := cell_of(row)) is not None}


def beside(cell: Cell) -> list[Cell]:
    """Half and twice its rate."""
    method, rate = cell
    return [(method, float(f"{rate * factor:.4g}")) for factor in (0.5, 2)]


def missing_beside(rows: list[dict[str, Any]]) -> list[Cell]:
    """What was not tried beside the best cells of one group."""
    cells = cells_of(rows)
    best = {max(cells, key=lambda cell: cells[cell][name]) for name in BEST_ON} if cells else set()
    return [near for cell in sorted(best) for near in beside(cell) if near not in cells]


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
        run_score(ScoreOptions(run=run.root, data=images, test=test, batches=8, seed=trial.seed, **shared))
        run_allocate(AllocateOptions(run=run.root))
    return run, data, shared


def run_trial(trial: Trial, work: Path, options: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """One training, with `more` of its options, merged and scored on the test pairs."""
    scored, data, shared = prepare(trial, work, options)
    run = RunFolder(work / "run")
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
            **more,
        )
    )
    run_merge(MergeOptions(run=run.root, **shared))
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
        "best_iteration": trained.card.best_iteration,
        "rate_cuts": [cut.model_dump() for cut in trained.card.rate_cuts],
        "seconds": round(trained.card.wall_s, 1),
        "machine": describe_machine(pick_device(options.device)),
    }


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """A row for each network, data set, length and seed: the default beside the best cells of the grid."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        trial = row["trial"]
        groups[trial["network"], trial["data"], trial["iterations"], trial["seed"]].append(row)
    lines = [
        "| network | data | iterations | seed | default finds | on held-out crops | on test images "
        "| lora alone finds | on test images "
        + "".join(f"| best on {images} | difference " for images in BEST_ON.values())
        + "| among |",
        "|---" * (10 + 2 * len(BEST_ON)) + "|",
    ]
    differences: dict[tuple[str, str], list[float]] = defaultdict(list)
    beside_lora: list[dict[str, float]] = []
    climbed: list[bool] = []
    by_hand: list[float] = []
    for (network, data, iterations, seed), found in groups.items():
        auto = next((row for row in found if row["trial"]["method"] == "auto"), None)
        lora = next((row for row in found if row["trial"]["method"] == "lora" and is_searched(row)), None)
        cells = cells_of(found)
        chosen = "" if auto is None else "preset's" if auto["found"] is None else describe(auto["found"])
        gain = " | " if auto is None else f"{auto['held_out_gain_db']:+.2f} dB | {auto['gain_db']:+.3f} dB"
        line = f"| {network} | {data} | {iterations} | {seed} | {chosen} | {gain} |"
        line += " | |" if lora is None else f" {describe(lora['found'])} | {lora['gain_db']:+.3f} dB |"
        if auto is not None and lora is not None:
            beside_lora.append({key: auto[key] - lora[key] for key in BEST_ON})
        extent = WHOLE if cells.keys() >= set(GRID) else BESIDE if cells and not missing_beside(found) else ""
        for name in BEST_ON:
            if auto is None or not extent:
                line += " | |"
                continue
            best = max(cells, key=lambda cell: cells[cell][name])
            difference = auto["gain_db"] - cells[best]["gain_db"]
            differences[extent, name].append(difference)
            line += f" {cells[best]['gain_db']:+.3f} dB, {best[0]} {best[1]:.2g} | {difference:+.3f} dB |"
            if extent == WHOLE and (begin := cell_of(auto)) is not None:
                climbed.append(climb(cells, begin, name) == best)
        if extent == WHOLE and auto is not None:
            held_out, test = (max(cells, key=lambda cell: cells[cell][name]) for name in BEST_ON)
            by_hand.append(cells[held_out]["gain_db"] - cells[test]["gain_db"])
        lines.append(f"{line} {extent} |")
    for (extent, name), of in differences.items():
        lines += [
            "",
            f"{extent.capitalize()}, against what is best on {BEST_ON[name]}: {mean(of):+.3f} dB on average, in "
            f"{count_below(of)} of {len(of)} more than {MARGIN_DB:g} dB below.",
        ]
    lines += [
        "",
        f"All {len(GRID)} trainings of a whole grid, the best by held-out crops kept, against what is best on test "
        f"images: {mean(by_hand):+.3f} dB on average, in {count_below(by_hand)} of {len(by_hand)} more than "
        f"{MARGIN_DB:g} dB below.",
    ]
    if beside_lora:
        gains = {key: [of[key] for of in beside_lora] for key in BEST_ON}
        lines += [
            "",
            f"Against lora alone, at the rate that its search finds, over {len(beside_lora)} cells: "
            + ", ".join(
                f"{mean(of):+.3f} dB on {BEST_ON[key]} ({sum(gain > 0 for gain in of)} above)"
                for key, of in gains.items()
            )
            + ".",
        ]
    lines += ["", describe_equal_rates(groups.values())]
    machines = ", ".join(sorted({row["machine"] for row in rows}))
    lines += [
        "",
        f"Made by `python benchmarks/auto_rate.py` on {machines}. PSNR-Y of whole test images, every",
        f"{TEST_SHARE}th pair, which neither the training nor the search has seen. A user's grid is judged by held-out",
        f"crops, as the search is; chosen by the test images it has the luck of {len(GRID)} draws. A {WHOLE} has",
        f"{len(GRID)} cells; the {BESIDE} are of the method that the search found, to both sides of its rate as far as",
        f"the gain rises, which ends at the best cell of a whole grid in {sum(climbed)} of {len(climbed)} choices.",
    ]
    return "\n".join(lines) + "\n"


def count_below(differences: Iterable[float]) -> int:
    """How many of the differences miss the aim."""
    return sum(value < -MARGIN_DB for value in differences)


def describe_equal_rates(groups: Iterable[list[dict[str, Any]]]) -> str:
    """By how much full updates end above low-rank ones at the same rate, which decides where a rate is given."""
    gains: dict[float, list[float]] = defaultdict(list)
    for rows in groups:
        given = {
            (row["trial"]["method"], float(f"{row['trial']['learning_rate']:.4g}")): row["gain_db"]
            for row in rows
            if not is_searched(row)
        }
        for method, rate in given:
            if method == "full" and ("lora", rate) in given:
                gains[rate].append(given["full", rate] - given["lora", rate])
    texts = [
        f"{rate:.2g}: {mean(of):+.2f} dB ({sum(gain > 0 for gain in of)} of {len(of)} above)"
        for rate, of in sorted(gains.items())
        if len(of) > 1
    ]
    return "Full updates against low-rank ones at the same rate, on test images: " + ", ".join(texts) + "."


def climb(cells: Mapping[Cell, dict[str, Any]], begin: Cell, name: str) -> Cell:
    """The cell at which `--beside` ends in a whole grid."""
    best = max((cell for cell in (begin, *beside(begin)) if cell in cells), key=lambda cell: cells[cell][name])
    return begin if best == begin else climb(cells, best, name)


def is_searched(row: dict[str, Any]) -> bool:
    """Whether a search found the rate."""
    return row["trial"]["learning_rate"] is None


def describe(cell: dict[str, Any]) -> str:
    """Method and rate of a cell."""
    return f"{cell['method']} {cell['learning_rate']:.2g}"


if __name__ == "__main__":
    main()
