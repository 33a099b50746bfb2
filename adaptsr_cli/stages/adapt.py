"""Stages ``adapt`` and ``demo``: the whole job in one call."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from adaptsr_cli.artifacts.base import RankMap, Saliency
from adaptsr_cli.artifacts.evaluation import Evaluation
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.data.photos import write_demo_pairs
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import OutputExistsError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.io.lock import hold_folder
from adaptsr_cli.progress import Progress, Silent, TellOnce
from adaptsr_cli.stages.allocate.stage import AllocateOptions, allocate
from adaptsr_cli.stages.common.lr_degradation import run_degradation
from adaptsr_cli.stages.common.models import ModelSpec, expected_scale, load_model, open_backbone
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.training_data import open_reader, open_training_data
from adaptsr_cli.stages.evaluate.stage import EvaluateOptions, evaluate
from adaptsr_cli.stages.merge.stage import MergeOptions, MergeResult, merge
from adaptsr_cli.stages.score import ScoreOptions, score_backbone
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.stage import DEFAULT_BUDGET, TrainResult, train_backbone
from adaptsr_cli.stages.upscale.stage import UpscaleOptions, single_result, upscale
from adaptsr_cli.training.config import TRAIN_PRESETS
from adaptsr_cli.units import Budget, parse_budget


@dataclass(frozen=True)
class AdaptOptions:
    """The options of all stages together.

    Attributes:
        training: Data, model, run folder and training options.
        test: Pairs to score on; None for the held-out ones of the training data.
    """

    training: TrainOptions
    budget: Budget
    metrics: tuple[str, ...]
    batches: int = ScoreOptions.batches
    test: Path | None = None


@dataclass(frozen=True)
class AdaptResult:
    """What the whole job came to.

    Attributes:
        merged: None in a process that is not the first of its group; so is `example`.
    """

    run: RunFolder
    saliency: Saliency
    rank_map: RankMap
    training: TrainResult
    merged: MergeResult | None
    evaluation: Evaluation
    example: Path | None


def adapt(config: AdaptOptions, progress: Progress, world: World = SINGLE_PROCESS) -> AdaptResult:
    """Scores, allocates, trains, merges, evaluates, and upscales one held-out image.

    Stages whose artifact is there already are not done again, so a stopped run goes on.

    Args:
        config: The options of all stages.
        progress: Where to tell.
        world: The processes that share scoring, training and evaluation; only the first one writes.
    """
    with ExitStack() as stack:
        if world.is_main_process:
            stack.enter_context(hold_folder(config.training.run.root))
        return _adapt(config, TellOnce(progress), world)


def _adapt(config: AdaptOptions, progress: Progress, world: World) -> AdaptResult:
    options = config.training
    run = options.run
    with world.rank_zero_first():  # what it has checked, the others need not check again
        scale = expected_scale(options.run, options.model.name)
        data = open_training_data(options.data, options.val, options.seed, progress, scale, options.cache)
        backbone = open_backbone(run, options.model, progress, record=world.is_main_process)
    # Asked by one process, since a moment later it writes these files.
    scored, allocated = world.gather(
        (run.saliency.exists(), world.is_main_process and _has_rank_map(run, config.budget))
    )[0]
    if options.force or not scored:
        preset = TRAIN_PRESETS[options.preset]
        scoring = ScoreOptions(
            run=run,
            model=options.model,
            data=options.data,
            val=options.val,
            batches=config.batches,
            batch=options.batch or preset.batch,
            patch_px=options.patch_px,
            degrade=options.degrade,
            device=options.device,
            precision=options.precision,
            seed=options.seed,
            force=options.force,
        )
        score_backbone(scoring, backbone, data, progress, world)
    with world.rank_zero_first():
        if world.is_main_process and (options.force or not allocated):
            allocation = AllocateOptions(run=run, budget=config.budget, strategy=options.strategy, force=options.force)
            allocate(allocation, progress)
    training = train_backbone(options, backbone, data, progress, world)
    with world.rank_zero_first():
        merged = (
            merge(MergeOptions(run=run, model=options.model, force=True), progress) if world.is_main_process else None
        )
    evaluation = evaluate(
        EvaluateOptions(
            run=run,
            data=_choose_test(config),
            weights_dir=options.model.weights_dir,
            offline=options.model.offline,
            metrics=config.metrics,
            degrade=options.degrade,
            device=options.device,
            seed=options.seed,
            force=True,
        ),
        progress,
        world,
    )
    degradation = run_degradation(run, data.held_out, options.degrade)
    held_out = open_reader(data.held_out, backbone.scale, degradation, options.seed, data.cache)
    example = _upscale_example(config, held_out, progress) if world.is_main_process else None
    return AdaptResult(
        run=run,
        saliency=read_document(run.saliency, Saliency),
        rank_map=read_document(run.rank_map, RankMap),
        training=training,
        merged=merged,
        evaluation=evaluation,
        example=example,
    )


def _has_rank_map(run: RunFolder, budget: Budget) -> bool:
    """Whether the run has a rank map of this budget.

    Raises:
        OutputExistsError: It has one of another budget.
    """
    if not run.rank_map.exists():
        return False
    known = read_document(run.rank_map, RankMap).provenance.options.get("budget")
    if known != budget.text:
        raise OutputExistsError(
            f"{run.rank_map} was made for --budget {known}, not {budget.text}",
            "repeat that budget to go on, or start anew with --force or another --run",
        )
    return True


def _choose_test(config: AdaptOptions) -> DataSpec:
    """The pairs to score on: ``--test``, else those that training watched."""
    data = config.training.data
    folder = config.test or config.training.val
    return data if folder is None else DataSpec.of(folder, data.align)


def _upscale_example(config: AdaptOptions, held_out: Mixture, progress: Progress) -> Path:
    """Upscales the first held-out LR image with the merged model into ``upscaled/``."""
    options = config.training
    run = options.run
    lr, _ = held_out.read(0)
    source = run.root / "upscaled" / f"{held_out.pairs[0].name}.png"
    write_rgb(source, lr)
    job = UpscaleOptions(
        run=run, model=replace(options.model, name=None), inputs=(source,), device=options.device, force=True
    )
    return single_result(upscale(job, progress))


@dataclass(frozen=True)
class DemoConfig:
    """The job on photographs that ship with scikit-image and a simulated camera.

    Attributes:
        run: Folder to put everything in; it must be new, or `force` set.
    """

    run: RunFolder
    weights_dir: Path
    device: str = "auto"
    seed: int = 0
    iterations: int | None = None
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips_squeeze")
    force: bool = False


def demo(config: DemoConfig, progress: Progress) -> AdaptResult:
    """Makes camera pairs from photographs, adapts the embedded backbone, and scores it on photos never seen."""
    choice = ModelSpec(None, config.weights_dir, offline=True)
    if config.run.root.exists() and not config.force:
        raise OutputExistsError(f"{config.run.root} exists already", "replace it with --force, or give another --run")
    photos = config.run.root / "photos"
    write_demo_pairs(photos, load_model(choice, Silent()).scale, config.seed)
    progress.note(f"camera pairs made from photographs that ship with scikit-image: {photos}")
    options = TrainOptions(
        run=config.run,
        model=choice,
        data=DataSpec.of(photos / "train"),
        iterations=config.iterations,
        device=config.device,
        seed=config.seed,
        force=config.force,
    )
    adaptation = AdaptOptions(options, parse_budget(DEFAULT_BUDGET), config.metrics, test=photos / "test")
    return adapt(adaptation, progress)
