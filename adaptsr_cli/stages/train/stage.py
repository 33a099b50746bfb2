"""Stage ``train``: adapters on the planned sites, the best on held-out images kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.adapters.methods import validate_method_options
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.artifacts.files import FileAccount
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.artifacts.train_state import RunFingerprint
from adaptsr_cli.backbones.catalogue import weights_dir as find_weights_dir
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.data.sampler import Batch, BatchSampler
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.documents import write_document
from adaptsr_cli.progress import SILENT, Progress, TellOnce
from adaptsr_cli.report.figures import draw_curves
from adaptsr_cli.runtime import describe_device, pick_device, pick_precision, random_state_kept, seed_everything
from adaptsr_cli.stages.common.lr_degradation import choose_degradation, degradation_sha256, run_degradation
from adaptsr_cli.stages.common.open_run import OpenRun, open_run
from adaptsr_cli.stages.common.run_folder import RunFolder, drop_training
from adaptsr_cli.stages.common.training_data import fit_patch, open_reader
from adaptsr_cli.stages.train.build_adapters import build_adapters
from adaptsr_cli.stages.train.guard import guard_training
from adaptsr_cli.stages.train.init import apply_warm_start, choose_init
from adaptsr_cli.stages.train.options import TrainOptions, resolve_config
from adaptsr_cli.stages.train.rank_plan import RankPlan, open_rank_plan
from adaptsr_cli.stages.train.records import BestAdapterWriter, fill_card, tell_cache, tell_result, write_run_records
from adaptsr_cli.training.log import read_log
from adaptsr_cli.training.loop import Trainer, TrainingOutcome
from adaptsr_cli.training.objective import Objective, make_objective
from adaptsr_cli.training.presets import TRAIN_PRESETS
from adaptsr_cli.training.state import continue_run, read_state
from adaptsr_cli.training.validation import Validator
from adaptsr_cli.units import format_params, format_seconds, plural

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
    """

    adapter: Path
    card: RunCard
    seconds_per_iteration: float | None
    files: tuple[FileAccount, ...] = ()
    guard: GuardRecord | None = None

    def to_json(self) -> dict[str, Any]:
        """The file, the card, and what the guard found where there was one."""
        return {
            "adapter": str(self.adapter),
            "seconds_per_iteration": self.seconds_per_iteration,
            **self.card.model_dump(exclude={"artifact", "format_version"}),
            "files": [account.model_dump(mode="json") for account in self.files],
            "guard": self.guard.model_dump(exclude={"artifact", "format_version"}) if self.guard else None,
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
    """Refuse what the method does not obey, before images and networks are opened, which may take long.

    Raises:
        UsageError: Naming the option.
    """
    validate_method_options(options.method, options.init or "default", options.conv_factorization, options.shira_mask)


def train_backbone(options: TrainOptions, opened: OpenRun, progress: Progress, world: World) -> TrainResult:
    """`run_train` in a run that is open already."""
    run, backbone = opened.run, opened.backbone
    if world.is_main_process:
        _prepare_folder(run, force=options.force)
    device = pick_device(options.device)
    plan = open_rank_plan(options, opened, progress, world)
    options = choose_init(options, plan, progress)
    readers = _prepare_data(options, opened, progress, world)
    config = _resolve(options, opened, readers, device, progress)
    _refuse_small_batch(config, world)

    seed_everything(config.seed)
    backbone.to(device)
    block = world.block(config.batch)
    sampler = BatchSampler(readers.train, batch=config.batch, patch_px=config.patch_px, seed=config.seed, device=device)
    batches = _Share(sampler, block.start, len(block))
    attachment = _prepare_adapters(config, opened, plan, batches, device, progress, world)
    fingerprint = _fingerprint(config, opened, plan, readers)
    if run.training.state.exists():
        # Before anything is written: the split of the run that is there must not be replaced by another's.
        continue_run(read_state(run.training.state)[0], fingerprint, run.training.root)
    objective = _make_objective(options, config, device)

    _tell_start(attachment, opened, config, objective, readers, device, world, progress)
    if world.is_main_process:
        write_run_records(options, config, opened, plan)
    trainer = Trainer(
        backbone=backbone,
        attachment=attachment,
        batches=batches,
        validator=Validator(readers.held_out, backbone.scale, world),
        objective=objective,
        plan=fingerprint,
        folder=run.training,
        device=device,
        keep_best=BestAdapterWriter(run, backbone, plan.sites, fingerprint),
        world=world,
        share=len(block) / config.batch,
        tensorboard=options.tensorboard,
        checkpointed=_blocks_to_checkpoint(options.checkpointing, plan.sites, progress),
    )
    outcome = trainer.run(progress)

    tell_cache(opened.data.cache.stats(), len(readers.train) + len(readers.held_out), progress)
    card = fill_card(outcome.state, attachment, backbone, objective.describe(), describe_device(device), world)
    result = _finish(opened, card, outcome, objective, device, progress, world)
    return replace(result, files=opened.data.files)


@dataclass(frozen=True)
class _Share:
    """This process's crops of every batch."""

    sampler: BatchSampler
    first: int
    count: int

    def sample(self, iteration: int) -> Batch:
        return self.sampler.sample_part(iteration, self.first, self.count)


@dataclass(frozen=True)
class _Readers:
    """The images to train on and to watch.

    Attributes:
        degradation_sha256: Of what makes LR from photos; empty where all LR images are real.
    """

    train: Mixture
    held_out: Mixture
    degradation_sha256: str


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


def _prepare_data(options: TrainOptions, opened: OpenRun, progress: Progress, world: World) -> _Readers:
    """Open the images to train on and to watch, and decides how LR is made from photographs."""
    run, data, scale = opened.run, opened.data, opened.backbone.scale
    degradation = choose_degradation(
        run,
        data.train,
        options.degrade,
        progress,
        scale=scale,
        seed=options.seed,
        force=options.force,
        world=world,
    )
    # Photographs to be watched need one too, even if all that is trained on are pairs.
    watched = degradation or run_degradation(run, data.held_out, options.degrade)
    return _Readers(
        train=open_reader(data.train, scale, degradation, options.seed, data.cache),
        held_out=open_reader(data.held_out, scale, watched, options.seed, data.cache),
        degradation_sha256=degradation_sha256(watched),
    )


def _resolve(
    options: TrainOptions, opened: OpenRun, readers: _Readers, device: torch.device, progress: Progress
) -> TrainConfig:
    """The options with nothing left open: the smallest image bounds the patch, the network the precision."""
    patch_px = fit_patch(readers.train, options.patch, TRAIN_PRESETS[options.preset].patch_px, progress)
    precision = pick_precision(options.precision, device, bf16=opened.backbone.traits.bf16, fp16=False)
    return resolve_config(options, patch_px=patch_px, precision=precision)


def _refuse_small_batch(config: TrainConfig, world: World) -> None:
    """Every process needs one crop for each part of its share.

    Raises:
        UsageError: The batch is too small.
    """
    if config.batch < world.size * config.accumulate:
        raise UsageError(
            f"`batch` {config.batch} is too small for {world.size} x {config.accumulate} parts",
            f"use `batch` {world.size * config.accumulate} or more, a smaller `accumulate` or fewer processes",
        )


def _prepare_adapters(
    config: TrainConfig,
    opened: OpenRun,
    plan: RankPlan,
    batches: _Share,
    device: torch.device,
    progress: Progress,
    world: World,
) -> Attachment:
    """Put the adapters on the network, where they start."""
    attachment = build_adapters(
        config, opened.backbone, plan, opened.run, batches, device=device, world=world, progress=progress
    )
    if config.init == "adapter":
        apply_warm_start(attachment, opened.backbone, config, plan, opened.data.fingerprint, progress)
    return attachment


def _fingerprint(config: TrainConfig, opened: OpenRun, plan: RankPlan, readers: _Readers) -> RunFingerprint:
    """What must be the same for a run to be the same run."""
    return RunFingerprint(
        config=config,
        backbone_sha256=opened.backbone.identity.sha256,
        data_fingerprint=opened.data.fingerprint,
        degradation_sha256=readers.degradation_sha256,
        start_sha256=(plan.rank_map.start_sha256 or "") if config.init == "adapter" else "",
        ranks=plan.ranks,
    )


def _make_objective(options: TrainOptions, config: TrainConfig, device: torch.device) -> Objective:
    """The loss.

    Raises:
        UsageError: `patience` watches a score that the loss does not seek.
    """
    objective = make_objective(
        config.objective,
        weights_dir=find_weights_dir(options.weights_dir),
        device=device,
        seed=config.seed,
        iterations=config.iterations,
    )
    if config.patience is not None and not objective.seeks_psnr:
        raise UsageError(
            f"`patience` watches PSNR, which `objective` {config.objective} gives up on purpose",
            "leave `patience` out, or use `iterations` or `minutes`",
        )
    return objective


def _tell_start(
    attachment: Attachment,
    opened: OpenRun,
    config: TrainConfig,
    objective: Objective,
    readers: _Readers,
    device: torch.device,
    world: World,
    progress: Progress,
) -> None:
    """Say what is trained, where and by which loss."""
    total_params, each = opened.backbone.identity.params, describe_device(device)
    where = each if world.size == 1 else f"{world.size} processes, each on {each}"
    progress.note(
        f"training {format_params(attachment.params)} of {format_params(total_params)} parameters "
        f"({attachment.params / total_params:.1%}) on {where}, {config.precision}; objective: {objective.describe()}"
    )
    if len(readers.train) < FEW_IMAGES:
        progress.warn(
            f"only {plural(len(readers.train), 'image')} to train on: the held-out score may turn early; the best "
            "adapter is kept, and `patience` 3 stops in time"
        )


def _finish(
    opened: OpenRun,
    card: RunCard,
    outcome: TrainingOutcome,
    objective: Objective,
    device: torch.device,
    progress: Progress,
    world: World,
) -> TrainResult:
    """Write the card and the curves, say how the run went, and ask the guard."""
    run, guard = opened.run, None
    with world.rank_zero_first():
        if world.is_main_process:
            write_document(run.card, card)
            draw_curves(run.curves, read_log(run.training.log))
            tell_result(run, outcome.state, objective, progress)
            if objective.seeks_psnr and outcome.state.best_iteration > 0:
                guard = guard_training(opened, device, progress)
    if outcome.seconds_per_iteration is None:
        progress.note(
            f"this run is finished already ({format_seconds(outcome.state.elapsed_s)}); more `iterations` or `minutes` "
            "go on from here, `force` trains from the start"
        )
    return TrainResult(run.adapter, card, outcome.seconds_per_iteration, guard=guard)


def _blocks_to_checkpoint(wanted: bool, sites: list[tuple[Site, int]], progress: Progress) -> tuple[str, ...]:
    """The repeated blocks of the network, where checkpointing is asked for; says so where there are none."""
    blocks = tuple(dict.fromkeys(site.block for site, _ in sites if site.block)) if wanted else ()
    if wanted and not blocks:
        progress.warn("`checkpointing` saves nothing: this network has no repeated blocks; try `accumulate`")
    return blocks
