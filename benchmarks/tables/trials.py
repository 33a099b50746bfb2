"""Trials: short adaptations that differ in one thing, run once each and remembered.

Every trial is scored, allocated, trained, merged and evaluated by the stages that the commands run. What came out is
appended to ``benchmarks/results/tables/trials.jsonl``, one line a trial, so that a stopped study goes on, and tables
that share a trial do not run it twice. The held-out images are never trained on, and the score is that of the last
iteration: nothing is chosen by them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import multiprocessing
import random
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import torch

from adaptsr_cli import __version__
from adaptsr_cli.artifacts.base import Criterion, LoraInit, Strategy
from adaptsr_cli.artifacts.base import Method as KnownMethod
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.saliency import Saliency
from adaptsr_cli.backbones.catalogue import default_model
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.progress import Silent
from adaptsr_cli.runtime import describe_machine, pick_device
from adaptsr_cli.stages.allocate.options import AllocateOptions
from adaptsr_cli.stages.allocate.stage import run_allocate
from adaptsr_cli.stages.common.models import ModelSpec, expected_scale
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.training_data import DEFAULT_CACHE, open_training_data
from adaptsr_cli.stages.evaluate.options import EvaluateOptions
from adaptsr_cli.stages.evaluate.stage import run_evaluate
from adaptsr_cli.stages.merge.options import MergeOptions
from adaptsr_cli.stages.merge.stage import run_merge
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.score.stage import run_score
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.stage import run_train
from adaptsr_cli.training.log import read_log

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = ROOT / "benchmarks" / "results" / "tables"
LEDGER: Final = RESULTS / "trials.jsonl"

Method = KnownMethod | Literal["none"]
Part = Literal["all", "search", "score"]


@dataclass(frozen=True)
class Trial:
    """Everything that decides how a trial comes out.

    Attributes:
        backbone: Name of the checkpoint file; empty for the embedded network.
        data: Name of the folder of pairs.
        seed: Of the split, the crops, and all that starts at random.
        budget: As ``--budget``; empty where `rank` decides.
        rank: Uniform rank of every site, in place of budget and strategy; 0 for none.
        method: As ``--method``; ``none`` scores the backbone.
        lr: Peak learning rate; None for the method's default.
        checks: Validations on the way, for curves.
        extra: Further fields of `TrainOptions`, as (name, value).
        part: Which pairs: all, split as the commands do; or one of the two fixed parts of `lay_out_part`, so that rates
            are searched for on other images than those that are scored.
    """

    backbone: str
    data: str
    seed: int
    iterations: int
    batch: int
    patch: int = 128
    budget: str = "8%"
    rank: int = 0
    strategy: Strategy = "greedy"
    criterion: Criterion = "gradient"
    modules: str = ""
    method: Method = "lora"
    init: LoraInit = "default"
    lr: float | None = 2e-3
    alpha: float = 8.0
    checks: int = 1
    extra: tuple[tuple[str, Any], ...] = ()
    part: Part = "all"

    @property
    def key(self) -> str:
        """The settings as one line, the same for the same trial."""
        return json.dumps(asdict(self), sort_keys=True)

    def changed(self, **changes: Any) -> Trial:
        """The same trial but for some fields."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Bench:
    """Where trials find things, and how many run at once.

    Attributes:
        backbone: Checkpoint file; None for the embedded network.
        data: Folder of pairs.
        weights: Folder with the trunk of LPIPS; None where there is none, and no LPIPS then.
        only_psnr: Leave out what takes another pass over the held-out images.
        jobs: Processes.
        threads: Of each process.
    """

    backbone: Path | None
    data: Path
    weights: Path | None
    only_psnr: bool
    jobs: int
    threads: int


def run_trials(trials: Sequence[Trial], bench: Bench, folder: Path | None = None) -> list[dict[str, Any]]:
    """Run the trials that the ledger lacks, and gives the figures of all, in their order.

    Args:
        trials: In any order; one that occurs twice is run once.
        bench: Where things are. With one job all run in this process.
        folder: Keeps the scores of sites for further calls with the same network and data; None for this call alone.

    Raises:
        SystemExit: A trial failed; those that ended are kept.
    """
    known = read_ledger()
    missing = [trial for trial in dict.fromkeys(trials) if trial.key not in known]
    if missing:
        print(f"{len(trials)} trials, {len(missing)} to run, {bench.jobs} at once", flush=True)
        with tempfile.TemporaryDirectory(prefix="adaptsr-tables-") as own:
            jobs = [(trial, bench, folder or Path(own)) for trial in missing]
            if bench.jobs == 1:
                failed = [text for job in jobs if (text := _run(job))]
            else:
                with multiprocessing.get_context("spawn").Pool(bench.jobs, maxtasksperchild=4) as pool:
                    failed = [text for text in pool.imap_unordered(_run, jobs) if text]
        if failed:
            raise SystemExit("\n".join(failed))
        known = read_ledger()
    return [known[trial.key] for trial in trials]


def read_ledger() -> dict[str, dict[str, Any]]:
    """The figures of all trials that were run, by `Trial.key`."""
    if not LEDGER.exists():
        return {}
    lines = [json.loads(line) for line in LEDGER.read_text(encoding="utf-8").splitlines()]
    return {Trial(**line["trial"]).key: line["figures"] for line in lines}


def _run(job: tuple[Trial, Bench, Path]) -> str:
    """One trial in a process of its own; the text of what went wrong, if anything did."""
    trial, bench, folder = job
    torch.set_num_threads(bench.threads)
    try:
        figures = measure(trial, bench, folder)
    except Exception:  # one failed trial must not lose the others
        return f"{trial.key}\n{traceback.format_exc()}"
    record = {"trial": asdict(trial), "figures": figures}
    RESULTS.mkdir(parents=True, exist_ok=True)
    with _locked(LEDGER), LEDGER.open("a", encoding="utf-8") as ledger:
        ledger.write(json.dumps(record) + "\n")
    print(f"{figures['psnr_y_db']:.3f} dB  {_brief(trial)}", flush=True)
    return ""


def _brief(trial: Trial) -> str:
    plain = Trial(trial.backbone, trial.data, trial.seed, trial.iterations, trial.batch)
    changed = {name: value for name, value in asdict(trial).items() if value != getattr(plain, name)}
    return f"{trial.data} seed {trial.seed} {changed}"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def measure(trial: Trial, bench: Bench, folder: Path) -> dict[str, Any]:
    """Run one trial; its figures."""
    choice = ModelSpec(str(bench.backbone) if bench.backbone else None, Path(), offline=True)
    images = lay_out_part(trial, bench.data, folder)
    data = DataSpec.of(images.data)
    scored = _scored(trial, images, choice, folder)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        run = RunFolder(Path(place) / "run")
        run.root.mkdir()
        for path in (scored.record, scored.directions):
            (run.root / path.name).symlink_to(path)
        saliency = _by_criterion(read_document(scored.saliency, Saliency), trial.criterion)
        write_document(run.saliency, saliency)
        figures: dict[str, Any] = {"params": 0, "curve": []}
        if trial.method == "none":
            scale = expected_scale(run, None)
            held_out = open_training_data(data, images.val, trial.seed, Silent(), scale, DEFAULT_CACHE)
            write_document(run.split, held_out.record(data))
            model = str(bench.backbone or default_model())
        else:
            figures |= _adapt(trial, run, choice, images, saliency)
            model = str(run.merged)
        curve = figures["curve"]
        score_on = images.val or images.data
        scores = {} if bench.only_psnr and curve else _evaluate(run, score_on, model, bench.weights)
    return figures | {
        # Of the last iteration, even where the backbone was better and so kept.
        "psnr_y_db": curve[-1][1] if curve else scores["psnr_y_db"],
        "ssim_y": scores.get("ssim_y"),
        "lpips": scores.get("lpips_squeeze"),
        "backbone_params": saliency.backbone.params,
        "version": __version__,
        "machine": describe_machine(pick_device("auto")),
    }


@dataclass(frozen=True)
class Images:
    """The pairs of a trial: what it trains on and what it is scored on; None for the split of the commands."""

    data: Path
    val: Path | None = None


def lay_out_part(trial: Trial, data: Path, folder: Path) -> Images:
    """Lay out the pairs of a trial as folders of links, where it has a part of them.

    Of every three pairs one is for the search of rates, and two are for scores. Of each part, a third (of the search's,
    a half) drawn by the seed is held out.
    """
    if trial.part == "all":
        return Images(data)
    names = sorted(path.name for path in (data / "HR").iterdir())
    part = [name for number, name in enumerate(names) if (number % 3 == 0) == (trial.part == "search")]
    random.Random(trial.seed).shuffle(part)
    held_out = len(part) // (2 if trial.part == "search" else 3)
    root = folder / f"{data.name}-{trial.part}-{trial.seed}"
    with _locked(root):
        for role, chosen in (("val", part[:held_out]), ("train", part[held_out:])):
            for side in (path.name for path in data.iterdir() if path.is_dir()):
                place = root / role / side
                place.mkdir(parents=True, exist_ok=True)
                for name in chosen:
                    if not (place / name).exists():
                        (place / name).symlink_to((data / side / name).resolve())
    return Images(root / "train", root / "val")


def _scored(trial: Trial, images: Images, choice: ModelSpec, folder: Path) -> RunFolder:
    """A run folder with the saliency for a seed; made by the first trial that needs it, the others wait."""
    scored = RunFolder(folder / f"scored-{trial.part}-{trial.seed}-{trial.batch}-{trial.patch}")
    folder.mkdir(exist_ok=True)
    with _locked(folder / scored.root.name):
        if not scored.saliency.exists():
            options = ScoreOptions(
                run=scored.root,
                model=choice.name,
                offline=True,
                data=str(images.data),
                val=images.val,
                batch=trial.batch,
                patch=trial.patch,
                seed=trial.seed,
            )
            run_score(options)
    return scored


def _by_criterion(saliency: Saliency, name: Criterion) -> Saliency:
    """The saliency with another of its criteria as the score."""
    sites = []
    for site in saliency.sites:
        assert site.criteria is not None
        sites.append(site.model_copy(update={"score": site.criteria[name], "score_std": 0.0}))
    return saliency.model_copy(update={"criterion": name, "sites": tuple(sites)})


def _adapt(trial: Trial, run: RunFolder, choice: ModelSpec, images: Images, saliency: Saliency) -> dict[str, Any]:
    """Allocates, trains and merges."""
    strategy, budget, max_rank = trial.strategy, trial.budget, None
    modules = trial.modules or None
    if trial.rank:
        kinds = AllocateOptions(modules=modules).modules
        chosen = [site for site in saliency.sites if kinds is None or site.kind in kinds]
        cost = sum(min(trial.rank, site.max_rank) * site.rank_cost for site in chosen)
        strategy, budget, max_rank = "uniform", str(cost), trial.rank
    run_allocate(AllocateOptions(run=run.root, budget=budget, strategy=strategy, max_rank=max_rank, modules=modules))
    options = TrainOptions(
        run=run.root,
        model=choice.name,
        offline=True,
        data=str(images.data),
        val=images.val,
        method=trial.method,
        iterations=trial.iterations,
        batch=trial.batch,
        patch=trial.patch,
        learning_rate=trial.lr,
        alpha=trial.alpha,
        init=trial.init,
        seed=trial.seed,
        val_freq=max(1, trial.iterations // trial.checks),
        save_freq=trial.iterations,
        **({"optimizer": "adam", "schedule": "cosine"} | dict(trial.extra)),  # the paper compares by Adam
    )
    report = run_train(options)
    run_merge(MergeOptions(run=run.root, model=choice.name, offline=True))
    rows = [row for row in read_log(run.training.log) if row.val_psnr_y_db is not None]
    return {
        "params": report.card.trainable_params,
        "planned_params": read_document(run.rank_map, RankMap).total_params,
        "curve": [[row.iteration, row.val_psnr_y_db] for row in rows],
    }


def _evaluate(run: RunFolder, data: Path, model: str, weights: Path | None) -> dict[str, float]:
    """Score of one network on the held-out images."""
    metrics = "psnr,ssim" if weights is None else "psnr,ssim,lpips_squeeze"
    options = EvaluateOptions(
        run=run.root, data=(str(data),), weights_dir=weights or Path(), offline=True, models=(model,), metrics=metrics
    )
    return dict(run_evaluate(options).evaluation.models[0].metrics)
