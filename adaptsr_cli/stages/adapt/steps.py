"""Steps of ``adapt`` after the images are opened: ranks, merge, evaluation, one example."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.artifacts.merged import MergedHeader
from adaptsr_cli.artifacts.rank_map import RankMap
from adaptsr_cli.artifacts.saliency import Saliency
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.distributed import World
from adaptsr_cli.errors import ArtifactError, OutputExistsError
from adaptsr_cli.io.documents import parse_document, read_document
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.io.headers import read_metadata
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.adapt.options import AdaptOptions
from adaptsr_cli.stages.allocate.options import AllocateOptions
from adaptsr_cli.stages.allocate.stage import allocate_ranks
from adaptsr_cli.stages.common.adapter_file import read_guard
from adaptsr_cli.stages.common.data_options import pick
from adaptsr_cli.stages.common.lr_degradation import run_degradation
from adaptsr_cli.stages.common.open_run import OpenRun
from adaptsr_cli.stages.common.run_command import run_command
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.run_merged import holds_adapter
from adaptsr_cli.stages.common.training_data import open_reader
from adaptsr_cli.stages.evaluate.options import EvaluateOptions
from adaptsr_cli.stages.evaluate.stage import EvaluateResult, run_evaluate
from adaptsr_cli.stages.merge.options import MergeOptions
from adaptsr_cli.stages.merge.stage import MergeResult, run_merge
from adaptsr_cli.stages.score.options import ScoreOptions
from adaptsr_cli.stages.score.stage import score_backbone
from adaptsr_cli.stages.train.from_peft import start_from_peft
from adaptsr_cli.stages.train.rank_plan import open_rank_plan
from adaptsr_cli.stages.upscale.options import UpscaleOptions
from adaptsr_cli.stages.upscale.stage import run_upscale, single_result
from adaptsr_cli.training.presets import TRAIN_PRESETS

UPSCALED: Final = "upscaled"
"""The folder of the example."""


def plan_ranks(options: AdaptOptions, opened: OpenRun, progress: Progress, world: World) -> AdaptOptions:
    """Score, and allocate where no rank map is named, as far as that is not done yet.

    Returns:
        What to train by; the ranks of a peft adapter are taken over already.
    """
    run = opened.run
    # What is wrong with files that are named is said before the network is scored, which may take long.
    settled = start_from_peft(options, opened, progress, world)
    if options.rank_map is not None:
        open_rank_plan(options, opened, progress, world)
    # Asked by one process, since a moment later it writes these files.
    is_scored, is_allocated = world.gather(
        (run.saliency.exists(), world.is_main_process and _is_allocated(run, options))
    )[0]
    if options.force or not is_scored:
        batch = options.batch or TRAIN_PRESETS[options.preset].batch
        score_backbone(pick(ScoreOptions, options, batches=options.score_batches, batch=batch), opened, progress, world)
    with world.rank_zero_first():
        is_due = not is_allocated or (options.force and options.rank_map is None)
        if world.is_main_process and is_due and options.from_peft is None:  # whose ranks the training takes over
            allocation = AllocateOptions(run=run.root, budget=options.budget, strategy=options.strategy)
            command = "allocate" if is_scored and not options.force else "adapt"
            allocate_ranks(allocation, read_document(run.saliency, Saliency), progress, command=command)
    return settled


def _is_allocated(run: RunFolder, options: AdaptOptions) -> bool:
    """Whether a rank map is named, or the run has one of this budget or of an adapter that its training goes on from.

    Raises:
        OutputExistsError: It has one of another budget.
    """
    if options.rank_map is not None or not run.rank_map.exists():
        return options.rank_map is not None
    rank_map = read_document(run.rank_map, RankMap)
    known = rank_map.provenance.options.get("budget")
    if known != options.budget and rank_map.strategy != "adapter":
        raise OutputExistsError(
            f"{run.rank_map} was made for `budget` {known}, not {options.budget}",
            "repeat that budget to continue, or start again with `force` or another `run`",
        )
    return True


def merge(options: AdaptOptions, progress: Progress, world: World) -> MergeResult | None:
    """The merged model, written by the first process while the others wait."""
    with world.rank_zero_first():
        if not world.is_main_process:
            return None
        run = RunFolder(options.run)
        if not options.force and (otherwise := _merged_otherwise(run)):
            command = run_command(run, "merge", "--force")
            progress.warn(
                f"{run.merged} was merged {otherwise}: it is kept, and scored (`{command}` makes the usual one)"
            )
            return None
        return run_merge(pick(MergeOptions, options, force=True), progress=progress)


def _merged_otherwise(run: RunFolder) -> str:
    """In what the run's merged model differs from the usual one, where the user made it; else empty."""
    if not run.merged.exists():
        return ""
    try:
        header = parse_document(read_metadata(run.merged).get(HEADER, "{}"), MergedHeader, str(run.merged))
    except ArtifactError:  # it is damaged, and made again
        return ""
    if not holds_adapter(header, run):
        return ""
    blend, guard = header.blend, read_guard(run, file_sha256(run.adapter))
    if blend is not None and (len(blend.parts) > 1 or blend.tuning is not None or blend.perceptual is not None):
        return "with more than the run's adapter, or tuned"
    strength = 1.0 if blend is None else blend.strength * blend.parts[0].weight
    return f"at strength {strength:g}" if strength != (1.0 if guard is None else guard.strength) else ""


def evaluate(options: AdaptOptions, progress: Progress, world: World, *, report: bool = True) -> EvaluateResult:
    """Backbone and merged model on the pairs of `test`, else on those that training has not seen."""
    folder = options.test or options.val
    images = {} if folder is None else {"data": (str(folder),), "lr_dir": None, "hr_dir": None, "list_file": None}
    chosen = pick(
        EvaluateOptions,
        options,
        **images,
        degrade=_named_degradation(options),
        precision="auto",
        force=True,
        replaces_first=options.force,
        report=report,
    )
    return run_evaluate(chosen, progress=progress, world=world)


def _named_degradation(options: AdaptOptions) -> str | None:
    """As the user named it, unless the training has decided: then the run's holds."""
    return None if RunFolder(options.run).degradation.exists() else options.degrade


def upscale_example(options: AdaptOptions, opened: OpenRun, progress: Progress) -> Path:
    """Upscale the first held-out LR image with the merged model into a folder of the run's."""
    run, data = opened.run, opened.data
    degradation = run_degradation(run, data.held_out, _named_degradation(options))
    held_out: Mixture = open_reader(data.held_out, opened.backbone.scale, degradation, options.seed, data.cache)
    lr, _ = held_out.read(0)
    source = run.root / UPSCALED / f"{held_out.pairs[0].name}.png"
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
