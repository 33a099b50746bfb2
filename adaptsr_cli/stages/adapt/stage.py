"""Stages ``adapt`` and ``demo``: the whole job in one call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.saliency import Saliency
from adaptsr_cli.data.photos import write_demo_pairs
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import AdaptsrError, GroupError, Interrupted, OutputExistsError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.metrics.protocol import parse_metrics
from adaptsr_cli.progress import SILENT, Progress, TellOnce
from adaptsr_cli.stages.adapt.folds import gather_findings, join_folds, open_folds, prepare_final, run_fold
from adaptsr_cli.stages.adapt.options import AdaptOptions, DemoOptions
from adaptsr_cli.stages.adapt.steps import UPSCALED, evaluate, merge, plan_ranks, upscale_example
from adaptsr_cli.stages.common.data_options import pick
from adaptsr_cli.stages.common.models import ModelSpec, load_model
from adaptsr_cli.stages.common.open_run import OpenRun, open_run
from adaptsr_cli.stages.common.run_folder import RunFolder, refuse_foreign, refuse_inputs
from adaptsr_cli.stages.merge.stage import MergeResult
from adaptsr_cli.stages.train.stage import TrainResult, check_options, train_backbone
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
        OutputExistsError: The run has a rank map of another budget, or files that are not ours lie in the way.
    """
    check_options(options)
    parse_metrics(options.metrics)  # what is wrong there is said before the work
    if world.is_main_process and not options.force:
        _refuse_foreign(options.run_folder)
    progress = TellOnce(progress)
    if options.folds is not None:
        return _cross_validate(options, options.folds, progress, world)
    with open_run(options, progress, world, strict=options.strict) as opened:
        refuse_inputs({"merged model": opened.run.merged}, [opened.backbone.checkpoint.path])
        options = plan_ranks(options, opened, progress, world)
        training = train_backbone(options, opened, progress, world)
        merged = merge(options, progress, world)
        evaluation, example, fault = _show(options, opened, progress, world)
        return AdaptResult(
            run=opened.run,
            saliency=read_document(opened.run.saliency, Saliency),
            rank_map=read_document(options.rank_map or opened.run.rank_map, RankMap),
            training=training,
            merged=merged,
            evaluation=evaluation,
            example=example,
            fault=fault,
        )


def _refuse_foreign(run: RunFolder) -> None:
    """Refuse files of the user's that lie where the stages are going to write.

    Raises:
        OutputExistsError: There is one.
        ArtifactError: ``eval.json`` is none, or damaged.
    """
    if run.evaluation.exists():
        read_document(run.evaluation, Evaluation)
    files = run.evaluation_files("")
    pictures = (run.saliency.with_suffix(".png"), run.rank_map.with_suffix(".png"), files.comparison, files.report)
    folders = (run.training.root, run.perceptual.root, run.folds, run.root / UPSCALED)
    refuse_foreign(run, [*pictures, *folders, run.directions, run.adapter, run.merged])


def _show(
    options: AdaptOptions, opened: OpenRun, progress: Progress, world: World
) -> tuple[Evaluation | None, Path | None, AdaptsrError | None]:
    """Score and upscale an example; what goes wrong there does not take the training's result with it.

    Returns:
        (evaluation, example, what went wrong)
    """
    evaluation = None
    try:
        evaluation = evaluate(options, progress, world).evaluation
        return evaluation, upscale_example(options, opened, progress) if world.is_main_process else None, None
    except (Interrupted, GroupError):
        raise
    except AdaptsrError as error:
        if world.size > 1:  # the others wait for this process
            raise
        return evaluation, None, error


def _cross_validate(options: AdaptOptions, folds: int, progress: Progress, world: World) -> AdaptResult:
    """The score by trainings on parts of the images, and the model by one on all of them."""
    with open_folds(options, folds, progress, world) as opened:
        refuse_inputs({"merged model": opened.opened.run.merged}, [opened.opened.backbone.checkpoint.path])
        results = [run_fold(options, opened, number, progress, world) for number in range(folds)]
        final, settled = prepare_final(options, opened, results, progress)
        settled = plan_ranks(settled, final, progress, world)
        findings = gather_findings(options, results)
        training = train_backbone(settled, final, progress, world, folds=findings)
        merged = merge(settled, progress, world)
        evaluation = join_folds(settled, final, results, progress, world)
        return AdaptResult(
            run=final.run,
            saliency=read_document(final.run.saliency, Saliency),
            rank_map=read_document(options.rank_map or final.run.rank_map, RankMap),
            training=training,
            merged=merged,
            evaluation=evaluation,
            example=upscale_example(settled, final, progress) if world.is_main_process else None,
        )


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
    write_demo_pairs(photos, backbone.scale, options.seed, force=options.force)
    progress.note(f"camera pairs made from photographs that ship with scikit-image: {photos}")
    adaptation = pick(
        AdaptOptions,
        options,
        run=root,
        data=(str(photos / "train"),),
        test=photos / "test",
        offline=True,
        # Known for this network; a search would only take time.
        method="lora",
        learning_rate=TRAIN_PRESETS["fast"].learning_rate,
    )
    return run_adapt(adaptation, progress=progress)


def _new_folder(wanted: Path) -> Path:
    """`wanted`, or the first of ``wanted-2``, ``wanted-3`` and so on that does not exist."""
    folder, number = wanted, 2
    while folder.exists():
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder
