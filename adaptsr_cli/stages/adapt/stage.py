"""Stages ``adapt`` and ``demo``: the whole job in one call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.saliency import Saliency
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.data.photos import write_demo_pairs
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import AdaptsrError, GroupError, Interrupted, OutputExistsError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.metrics.protocol import parse_metrics
from adaptsr_cli.progress import SILENT, Progress, TellOnce
from adaptsr_cli.stages.adapt.options import AdaptOptions, DemoOptions
from adaptsr_cli.stages.allocate.options import AllocateOptions
from adaptsr_cli.stages.allocate.stage import allocate_ranks
from adaptsr_cli.stages.common.data_options import pick
from adaptsr_cli.stages.common.lr_degradation import run_degradation
from adaptsr_cli.stages.common.models import ModelSpec, load_model
from adaptsr_cli.stages.common.open_run import OpenRun, open_run
from adaptsr_cli.stages.common.run_folder import RunFolder, refuse_inputs
from adaptsr_cli.stages.common.training_data import open_pairs, open_reader
from adaptsr_cli.stages.evaluate.options import EvaluateOptions
from adaptsr_cli.stages.evaluate.stage import run_evaluate
from adaptsr_cli.stages.merge.options import MergeOptions
from adaptsr_cli.stages.merge.stage import MergeResult, run_merge
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.score.stage import score_backbone
from adaptsr_cli.stages.train.stage import TrainResult, check_options, train_backbone
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.stage import run_upscale, single_result
from adaptsr_cli.training.presets import TRAIN_PRESETS


@dataclass(frozen=True)
class AdaptResult:
    """What the whole job came to.

    Attributes:
        merged: None in a process that is not the first of its group; so is `example`.
        evaluation: None where nothing could be scored, though the training is done and kept.
        fault: Why there is no evaluation or no example; None where there are both.
    """

    run: RunFolder
    saliency: Saliency
    rank_map: RankMap
    training: TrainResult
    merged: MergeResult | None
    evaluation: Evaluation | None
    example: Path | None
    fault: AdaptsrError | None = None

    def to_json(self) -> dict[str, Any]:
        """The evaluation and what the guard found; without scores what was trained, and why there are none."""
        if self.evaluation is None:
            return {"fault": self.fault.message if self.fault else "", **self.training.to_json()}
        guard = self.training.guard
        found = {} if guard is None else {"guard": guard.model_dump(exclude={"artifact", "format_version"})}
        return self.evaluation.model_dump(mode="json") | found


def run_adapt(options: AdaptOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS) -> AdaptResult:
    """Scores, allocates, trains, merges, evaluates, and upscales one held-out image.

    Stages whose artifact is there already are not done again, so a stopped run continues.

    Args:
        options: The options of all stages.
        progress: Where to tell.
        world: The processes that share scoring, training and evaluation; only the first one writes.

    Raises:
        OutputExistsError: The run has a rank map of another budget.
    """
    check_options(options)
    parse_metrics(options.metrics)  # what is wrong there is said before the work
    progress = TellOnce(progress)
    with open_run(options, progress, world) as opened:
        refuse_inputs({"merged model": opened.run.merged}, [opened.backbone.checkpoint.path])
        _check_test(options, opened, progress, world)
        _plan_ranks(options, opened, progress, world)
        training = train_backbone(options, opened, progress, world)
        merged = _merge(options, progress, world)
        evaluation, example, fault = _show(options, opened, progress, world)
        return AdaptResult(
            run=opened.run,
            saliency=read_document(opened.run.saliency, Saliency),
            rank_map=read_document(opened.run.rank_map, RankMap),
            training=training,
            merged=merged,
            evaluation=evaluation,
            example=example,
            fault=fault,
        )


def _check_test(options: AdaptOptions, opened: OpenRun, progress: Progress, world: World) -> None:
    """Find what is wrong with the images of `test` before the training, not after it.

    Raises:
        DataError: They cannot be used, or with `strict` one of them cannot.
    """
    if options.test is not None:
        with world.rank_zero_first():
            folder = DataSpec.of(options.test, options.align)
            open_pairs(folder, "test", progress, opened.backbone.scale, strict=options.strict)


def _show(
    options: AdaptOptions, opened: OpenRun, progress: Progress, world: World
) -> tuple[Evaluation | None, Path | None, AdaptsrError | None]:
    """Score and upscale an example; what goes wrong there does not take the training's result with it.

    Returns:
        (evaluation, example, what went wrong)
    """
    evaluation = None
    try:
        evaluation = _evaluate(options, progress, world)
        return evaluation, _upscale_example(options, opened, progress) if world.is_main_process else None, None
    except (Interrupted, GroupError):
        raise
    except AdaptsrError as error:
        if world.size > 1:  # the others wait for this process
            raise
        return evaluation, None, error


def _plan_ranks(options: AdaptOptions, opened: OpenRun, progress: Progress, world: World) -> None:
    """Score and allocate, as far as that is not done yet."""
    run = opened.run
    # Asked by one process, since a moment later it writes these files.
    is_scored, is_allocated = world.gather(
        (run.saliency.exists(), world.is_main_process and _has_rank_map(run, options.budget))
    )[0]
    if options.force or not is_scored:
        batch = options.batch or TRAIN_PRESETS[options.preset].batch
        score_backbone(pick(ScoreOptions, options, batches=options.score_batches, batch=batch), opened, progress, world)
    with world.rank_zero_first():
        if world.is_main_process and (options.force or not is_allocated):
            allocation = AllocateOptions(run=run.root, budget=options.budget, strategy=options.strategy)
            allocate_ranks(allocation, read_document(run.saliency, Saliency), progress)


def _has_rank_map(run: RunFolder, budget: str) -> bool:
    """Whether the run has a rank map of this budget.

    Raises:
        OutputExistsError: It has one of another budget.
    """
    if not run.rank_map.exists():
        return False
    known = read_document(run.rank_map, RankMap).provenance.options.get("budget")
    if known != budget:
        raise OutputExistsError(
            f"{run.rank_map} was made for `budget` {known}, not {budget}",
            "repeat that budget to continue, or start again with `force` or another `run`",
        )
    return True


def _merge(options: AdaptOptions, progress: Progress, world: World) -> MergeResult | None:
    """The merged model, written by the first process while the others wait."""
    with world.rank_zero_first():
        if not world.is_main_process:
            return None
        return run_merge(pick(MergeOptions, options, force=True), progress=progress)


def _evaluate(options: AdaptOptions, progress: Progress, world: World) -> Evaluation:
    """Backbone and merged model on the pairs of `test`, else on those that training watched."""
    folder = options.test or options.val
    images = {} if folder is None else {"data": (str(folder),), "lr_dir": None, "hr_dir": None, "list_file": None}
    chosen = pick(EvaluateOptions, options, **images, precision="auto", force=True, replaces_first=True)
    return run_evaluate(chosen, progress=progress, world=world).evaluation


def _upscale_example(options: AdaptOptions, opened: OpenRun, progress: Progress) -> Path:
    """Upscale the first held-out LR image with the merged model into ``upscaled/``."""
    run, data = opened.run, opened.data
    degradation = run_degradation(run, data.held_out, options.degrade)
    held_out: Mixture = open_reader(data.held_out, opened.backbone.scale, degradation, options.seed, data.cache)
    lr, _ = held_out.read(0)
    source = run.root / "upscaled" / f"{held_out.pairs[0].name}.png"
    write_rgb(source, lr)
    job = UpscaleOptions(
        run=run.root,
        inputs=(source,),
        weights_dir=options.weights_dir,
        offline=options.offline,
        device=options.device,
        force=True,
    )
    return single_result(run_upscale(job, progress=progress))


def run_demo(options: DemoOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS) -> AdaptResult:
    """Make camera pairs from photographs, adapts the embedded backbone, and scores it on photos never seen.

    Args:
        options: Where to, and how long.
        progress: Where to tell.
        world: Not used: this is work for one process.

    Raises:
        OutputExistsError: The named folder exists.
    """
    root = options.run or _new_folder(Path("adaptsr-demo"))
    if root.exists() and not options.force:
        raise OutputExistsError(f"{root} exists already", "replace it with `force`, or give another `run`")
    photos = root / "photos"
    backbone = load_model(ModelSpec.of(None, options.weights_dir, offline=True), SILENT)
    write_demo_pairs(photos, backbone.scale, options.seed)
    progress.note(f"camera pairs made from photographs that ship with scikit-image: {photos}")
    adaptation = pick(
        AdaptOptions,
        options,
        run=root,
        data=(str(photos / "train"),),
        test=photos / "test",
        offline=True,
        learning_rate=TRAIN_PRESETS["fast"].learning_rate,  # known for this network; a search would only take time
    )
    return run_adapt(adaptation, progress=progress)


def _new_folder(wanted: Path) -> Path:
    """`wanted`, or the first of ``wanted-2``, ``wanted-3`` and so on that does not exist."""
    folder, number = wanted, 2
    while folder.exists():
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder
