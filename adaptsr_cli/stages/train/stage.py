"""Stage ``train``: adapters on the planned sites, the best on held-out images kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from adaptsr_cli.adapters.methods import METHODS, list_methods, validate_method_options
from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.artifacts.files import FileAccount
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.artifacts.search import SearchRecord
from adaptsr_cli.data.sampler import require_patch
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError, Interrupted, UsageError
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.progress import SILENT, Progress, TellOnce
from adaptsr_cli.report.figures import draw_curves
from adaptsr_cli.runtime import describe_device, pick_device, random_state_kept
from adaptsr_cli.stages.allocate.options import DEFAULT_BUDGET
from adaptsr_cli.stages.common.open_run import OpenRun, open_run
from adaptsr_cli.stages.common.run_folder import RunFolder, drop_training
from adaptsr_cli.stages.train.fold_findings import FoldFindings
from adaptsr_cli.stages.train.from_peft import start_from_peft
from adaptsr_cli.stages.train.guard import guard_by_folds, guard_training
from adaptsr_cli.stages.train.kept_search import recall_search
from adaptsr_cli.stages.train.on_top import PerceptualResult, faithful_part, perceptual_part, train_on_top
from adaptsr_cli.stages.train.options import TrainOptions
from adaptsr_cli.stages.train.rank_plan import open_rank_plan
from adaptsr_cli.stages.train.records import fill_card, keep_card, tell_cache, tell_result, write_run_records
from adaptsr_cli.stages.train.search import open_methods, settle_method
from adaptsr_cli.stages.train.setup import TrainingInputs, make_trainer, open_readers, require_networks
from adaptsr_cli.stages.train.time_plan import plan_training
from adaptsr_cli.training.log import read_log
from adaptsr_cli.training.loop import Trainer, TrainingOutcome
from adaptsr_cli.training.objective import Objective
from adaptsr_cli.training.validation import Validator
from adaptsr_cli.units import agree, format_params, format_seconds, parse_budget, plural

FEW_IMAGES: Final = 6


@dataclass(frozen=True)
class TrainResult:
    """What a training run came to.

    Attributes:
        adapter: The file of the best adapter.
        card: What the run cost and gained.
        seconds_per_iteration: Of this sitting; None where nothing was left to train.
        files: What became of every file of the data folders.
        guard: What strength it may have; None where real pairs were watched, and in processes after the first.
        search: How method and learning rate were found; None where they were given.
        perceptual: Of the perceptual adapter on top; None where there is none.
    """

    adapter: Path
    card: RunCard
    seconds_per_iteration: float | None
    files: tuple[FileAccount, ...] = ()
    guard: GuardRecord | None = None
    search: SearchRecord | None = None
    perceptual: PerceptualResult | None = None

    def to_json(self) -> dict[str, Any]:
        """The file, the card, and what the guard found where there was one."""
        return {
            "adapter": str(self.adapter),
            "seconds_per_iteration": self.seconds_per_iteration,
            **self.card.model_dump(exclude={"artifact", "format_version"}),
            "files": [account.model_dump(mode="json") for account in self.files],
            "guard": self.guard.model_dump(exclude={"artifact", "format_version"}) if self.guard else None,
            "perceptual": self.perceptual.to_json() if self.perceptual else None,
        }


@random_state_kept()
def run_train(options: TrainOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS) -> TrainResult:
    """Trains, or continues training, and writes ``adapter.safetensors`` and ``training/``.

    With no rank map in the run folder it scores and allocates first.

    Args:
        options: What to train on what.
        progress: Where to tell.
        world: The processes that train together; only the first one writes.

    Raises:
        UsageError: Options contradict each other.
        ArtifactError: The run folder holds another run, or the rank map is for another backbone.
        BusyError: Another process is at work in the run folder.
        Interrupted: SIGINT or SIGTERM; the same command continues.
    """
    check_options(options)
    progress = TellOnce(progress)
    with open_run(options, progress, world) as opened:
        return train_backbone(options, opened, progress, world)


def check_options(options: TrainOptions) -> None:
    """Refuse what the method does not obey, or the objective lacks, before images are opened, which may take long.

    Raises:
        UsageError: Naming the option.
        MissingWeights: Naming the files.
    """
    method = options.named_method
    mask = options.shira_mask or METHODS[method].masks[0]
    validate_method_options(method, options.init or "default", options.conv_factorization, mask)
    unusual = options.low_rank_options
    if unusual and not METHODS[method].is_low_rank:
        able = list_methods(spec for spec in METHODS.values() if spec.is_low_rank)
        raise UsageError(f"`{unusual[0]}` is for `method` {able}", f"leave `{unusual[0]}` out")
    if options.patience is not None and not options.seeks_psnr:
        raise UsageError(
            f"`patience` watches PSNR, which `objective` {options.objective} gives up on purpose",
            "leave `patience` out, or use `iterations` or `minutes`",
        )
    require_networks(options)


def train_backbone(
    options: TrainOptions,
    opened: OpenRun,
    progress: Progress,
    world: World,
    *,
    folds: FoldFindings | None = None,
) -> TrainResult:
    """`run_train` in a run that is open already.

    Args:
        options: What to train.
        opened: On what.
        progress: Where to tell.
        world: The processes that train together.
        folds: What the folds found, where this is the final training of a cross-validation.
    """
    try:
        return _train_all(options, opened, progress, world, folds)
    except Interrupted as stop:
        if not options.force:
            raise
        raise Interrupted(stop.message, "the same command without `force` goes on from here") from stop


def _train_all(
    options: TrainOptions, opened: OpenRun, progress: Progress, world: World, folds: FoldFindings | None
) -> TrainResult:
    """See `train_backbone`."""
    run, backbone = opened.run, opened.backbone
    if world.is_main_process:
        _prepare_folder(run, force=options.force)
    device = pick_device(options.device)
    options = start_from_peft(options, opened, progress, world)
    readers = open_readers(options, opened, progress, world)
    if options.patch is not None:
        require_patch(readers.train, options.patch)  # before the network is scored, which may take long
    plan = open_rank_plan(options, opened, progress, world)
    validator = Validator(readers.held_out, backbone.scale, world, training=readers.train)
    _tell_flat(validator, progress)
    inputs = TrainingInputs(opened, plan, readers, validator, device, world)
    result = _train(faithful_part(options), options, inputs, progress, folds)
    if options.objective == "both":
        part = perceptual_part(folds.perceptual if folds else options, inputs)
        on_top = train_on_top(part, inputs, progress, folds.dials if folds else ())
        result = replace(result, perceptual=on_top)
    tell_cache(opened.data.cache.stats(), len(readers.train) + len(readers.held_out), progress)
    return replace(result, files=opened.data.files)


def _train(
    options: TrainOptions,
    asked: TrainOptions,
    inputs: TrainingInputs,
    progress: Progress,
    folds: FoldFindings | None,
) -> TrainResult:
    """Train the adapter of the run.

    Args:
        options: What to train.
        asked: What the user asked for, of which this may be a part.
        inputs: On what.
        progress: Where to tell.
        folds: What the folds found, where there are some.
    """
    opened, world = inputs.opened, inputs.world
    methods = open_methods(options, inputs)
    known = recall_search(options, inputs, methods, progress)
    planned = plan_training(options, inputs, progress, known, methods)
    options = settle_method(planned, inputs, progress)
    trainer = make_trainer(options, inputs, opened.run, progress)
    trainer.reserve_s = planned.reserve(is_new=not opened.run.training.state.exists())
    trainer.start, trainer.expected_iterations = planned.start, planned.iterations
    attachment, objective, config = trainer.attachment, trainer.objective, trainer.plan.config

    _tell_start(trainer, inputs, progress)
    if asked.method == "auto":
        _tell_budget(trainer, inputs, progress)
    if world.is_main_process:
        write_run_records(asked, config, opened, inputs.plan)
    outcome = trainer.run(progress)

    text, where = objective.describe(), describe_device(inputs.device)
    card = fill_card(outcome.state, attachment, opened.backbone, text, where, world)
    result = _finish(inputs, card, outcome, objective, progress, folds)
    if outcome.seconds_per_iteration is None and asked.objective != "both":
        progress.note(
            f"this run is finished already ({format_seconds(outcome.state.elapsed_s)}); more `iterations` or `minutes` "
            "go on from here, `force` trains from the start"
        )
    return result


def _prepare_folder(run: RunFolder, *, force: bool) -> None:
    """Clears an earlier training where that is allowed.

    Raises:
        ArtifactError: There is an adapter without the state that could be continued.
    """
    if force:
        drop_training(run)
    elif run.adapter.exists() and not run.training.state.exists():
        raise ArtifactError(
            f"{run.adapter} exists, but {run.training.state} to continue from does not",
            "start again with `force`, or use another `run`",
        )


def _tell_flat(validator: Validator, progress: Progress) -> None:
    """Say which held-out images are of no use."""
    count = validator.flat_images
    if validator.shows_nothing:
        progress.warn(
            f"the {plural(count, 'held-out image')} {agree(count, 'show')} nothing but one colour, so no score says "
            "whether the training helps: remove such images, or name others by `val`"
        )
    elif count:
        progress.note(
            f"{plural(count, 'held-out image')} {agree(count, 'show')} nothing but one colour, and "
            f"{agree(count, 'do')} not count while the network trains"
        )


def _tell_start(trainer: Trainer, inputs: TrainingInputs, progress: Progress) -> None:
    """Say what is trained, where and by which loss."""
    total_params, each = inputs.opened.backbone.identity.params, describe_device(inputs.device)
    where = each if inputs.world.size == 1 else f"{inputs.world.size} processes, each on {each}"
    params, precision = trainer.attachment.params, trainer.plan.config.precision
    progress.note(
        f"training {format_params(params)} of {format_params(total_params)} parameters ({params / total_params:.1%}) "
        f"on {where}, {precision}; objective: {trainer.objective.describe()}"
    )
    if inputs.opened.data.shows_known_scenes:
        progress.note(
            "no held-out pair shows another scene than those trained on, so the colours of each crop are shifted at "
            "random, lest those of these scenes be learnt"
        )
    images = len(inputs.readers.train)
    if images < FEW_IMAGES:
        progress.warn(
            f"only {plural(images, 'image')} to train on: the held-out score may turn early; the best "
            "adapter is kept, and `patience` 3 stops in time"
        )


def _tell_budget(trainer: Trainer, inputs: TrainingInputs, progress: Progress) -> None:
    """Say that a budget which the user has chosen bounds the sites and not the parameters, where that is so."""
    budget, total_params = inputs.plan.rank_map.budget_params, inputs.opened.backbone.identity.params
    if trainer.attachment.params > budget != parse_budget(DEFAULT_BUDGET).resolve(total_params):
        progress.note(
            f"the budget of {format_params(budget)} parameters has chosen the sites; all of their weights are trained, "
            "which does better on so small a network; `method` shira, or lora, keeps to the budget"
        )


def _finish(
    inputs: TrainingInputs,
    card: RunCard,
    outcome: TrainingOutcome,
    objective: Objective,
    progress: Progress,
    folds: FoldFindings | None,
) -> TrainResult:
    """Write the card and the curves, say how the run went, and ask the guard."""
    opened, world, guard = inputs.opened, inputs.world, None
    run = opened.run
    with world.rank_zero_first():
        if world.is_main_process:
            card = keep_card(run.card, card, outcome)
            draw_curves(run.curves, read_log(run.training.log))
            tell_result(run, outcome.state, objective, progress)
            if objective.seeks_psnr and outcome.state.best_iteration > 0:
                if folds is not None and folds.guards:
                    guard = guard_by_folds(opened, folds.guards, progress)
                else:
                    guard = guard_training(opened, inputs.device, progress)
    search = read_document(run.search, SearchRecord) if run.search.exists() else None
    return TrainResult(run.adapter, card, outcome.seconds_per_iteration, guard=guard, search=search)
