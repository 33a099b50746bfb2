"""Setup of a training: everything that the loop needs, made from options, data, network and rank plan."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.artifacts.adapter import AdapterBase
from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.artifacts.train_state import RunFingerprint
from adaptsr_cli.backbones.catalogue import weights_dir as find_weights_dir
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.data.sampler import Batch, BatchSampler
from adaptsr_cli.distributed import World
from adaptsr_cli.errors import UsageError
from adaptsr_cli.progress import Progress
from adaptsr_cli.runtime import pick_precision, seed_everything
from adaptsr_cli.stages.common.lr_degradation import choose_degradation, degradation_sha256, run_degradation
from adaptsr_cli.stages.common.open_run import OpenRun
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.training_data import fit_patch, open_reader
from adaptsr_cli.stages.train.build_adapters import build_adapters
from adaptsr_cli.stages.train.fit_memory import choose_checkpointing
from adaptsr_cli.stages.train.init import apply_warm_start
from adaptsr_cli.stages.train.options import TrainOptions, resolve_config
from adaptsr_cli.stages.train.rank_plan import RankPlan
from adaptsr_cli.stages.train.records import BestAdapterWriter
from adaptsr_cli.training.loop import Trainer
from adaptsr_cli.training.memory import StepShape
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.perceptual import load_perceptual_distance
from adaptsr_cli.training.presets import TRAIN_PRESETS
from adaptsr_cli.training.state import adapter_tensors, continue_run, read_state
from adaptsr_cli.training.validation import Validator


@dataclass(frozen=True)
class _Share:
    """This process's crops of every batch."""

    sampler: BatchSampler
    first: int
    count: int

    def sample(self, iteration: int) -> Batch:
        return self.sampler.sample_part(iteration, self.first, self.count)


@dataclass(frozen=True)
class Readers:
    """The images to train on and to watch.

    Attributes:
        degradation_sha256: Of what makes LR from photos; empty where all LR images are real.
    """

    train: Mixture
    held_out: Mixture
    degradation_sha256: str


@dataclass(frozen=True)
class TrainingInputs:
    """What all trainings of one call have in common, those of a search included.

    Attributes:
        base: The adapter that is folded into the network, on top of which is trained; None for none.
        masks: Measured masks of sparse updates, as `build_adapters` keeps them.
    """

    opened: OpenRun
    plan: RankPlan
    readers: Readers
    validator: Validator
    device: torch.device
    world: World
    base: AdapterBase | None = None
    masks: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def open_readers(options: TrainOptions, opened: OpenRun, progress: Progress, world: World) -> Readers:
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
    return Readers(
        train=open_reader(data.train, scale, degradation, options.seed, data.cache),
        held_out=open_reader(data.held_out, scale, watched, options.seed, data.cache),
        degradation_sha256=degradation_sha256(watched),
    )


def make_trainer(options: TrainOptions, inputs: TrainingInputs, run: RunFolder, progress: Progress) -> Trainer:
    """Put new adapters on the network and make the training of them; nothing is written yet.

    Args:
        options: What the user wants, with a method.
        inputs: What is trained on what.
        run: Where the training lies; there may be a state to continue from.
        progress: Told what is noteworthy.

    Raises:
        ArtifactError: The folder holds another run.
        UsageError: Options contradict each other.
    """
    opened, world, device = inputs.opened, inputs.world, inputs.device
    backbone, sites = opened.backbone, inputs.plan.sites
    fingerprint = make_fingerprint(options, inputs, progress)
    config = fingerprint.config
    _refuse_small_batch(config, world)

    seed_everything(config.seed)
    backbone.to(device)
    block = world.block(config.batch)
    sampler = BatchSampler(
        inputs.readers.train,
        batch=config.batch,
        patch_px=config.patch_px,
        seed=config.seed,
        device=device,
        shift_levels=opened.data.shows_known_scenes,
        recolour=config.recolour,
    )
    batches = _Share(sampler, block.start, len(block))
    saved: dict[str, Tensor] | None = None
    # Asked by one process, so that all do the same.
    if world.gather(run.training.state.exists())[0]:
        state, tensors = read_state(run.training.state)
        # Before anything is written: the split of the run that is there must not be replaced by another's.
        continue_run(state, fingerprint, run.training.root)
        saved = adapter_tensors(tensors)
    attachment = _prepare_adapters(config, inputs, batches, saved, progress)
    objective = make_objective(
        config.objective,
        weights_dir=find_weights_dir(options.weights_dir),
        device=device,
        seed=config.seed,
        iterations=config.iterations,
        scale=backbone.scale,
    )
    shape = StepShape(len(block), config.patch_px, config.precision, config.accumulate)
    return Trainer(
        backbone=backbone,
        attachment=attachment,
        batches=batches,
        validator=inputs.validator,
        objective=objective,
        plan=fingerprint,
        folder=run.training,
        device=device,
        keep_best=BestAdapterWriter(run, backbone, sites, fingerprint),
        world=world,
        share=len(block) / config.batch,
        tensorboard=options.tensorboard,
        checkpointed=choose_checkpointing(
            options.checkpointing, backbone, attachment, sites, objective, device, shape, progress
        ),
    )


def make_fingerprint(options: TrainOptions, inputs: TrainingInputs, progress: Progress) -> RunFingerprint:
    """What must be the same for a run to be the same run; nothing is left open in its options.

    Args:
        options: What the user wants, with a method.
        inputs: What is trained on what.
        progress: Told where the images bound the patch.
    """
    opened, rank_map = inputs.opened, inputs.plan.rank_map
    config = _resolve(options, opened, inputs.readers, inputs.device, progress)
    return RunFingerprint(
        config=config,
        backbone_sha256=opened.backbone.identity.sha256,
        data_fingerprint=opened.data.fingerprint,
        degradation_sha256=inputs.readers.degradation_sha256,
        start_sha256=(rank_map.start_sha256 or "") if config.init == "adapter" else "",
        base=inputs.base,
        ranks=inputs.plan.ranks,
    )


def _resolve(
    options: TrainOptions, opened: OpenRun, readers: Readers, device: torch.device, progress: Progress
) -> TrainConfig:
    """The options with nothing left open: the smallest image bounds the patch, the network the precision."""
    patch_px = fit_patch(readers.train, options.patch, TRAIN_PRESETS[options.preset].patch_px, progress)
    backbone = opened.backbone
    precision = pick_precision(
        options.precision, device, bf16=backbone.traits.bf16, fp16=False, bf16_on_cpu=backbone.trains_in_bf16_on_cpu
    )
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
    inputs: TrainingInputs,
    batches: _Share,
    saved: dict[str, Tensor] | None,
    progress: Progress,
) -> Attachment:
    """Put the adapters on the network, where they start."""
    opened, plan = inputs.opened, inputs.plan
    attachment = build_adapters(
        config,
        opened.backbone,
        plan,
        opened.run,
        batches,
        saved=saved,
        masks=inputs.masks,
        device=inputs.device,
        world=inputs.world,
        progress=progress,
    )
    if config.init == "adapter":
        apply_warm_start(attachment, opened.backbone, config, plan, opened.data.fingerprint, progress)
    return attachment


def require_networks(options: TrainOptions) -> None:
    """Load the networks of the perceptual objective once, so that it is said before any work if they are missing.

    Raises:
        MissingWeights: They are.
        CheckpointError: They are damaged.
    """
    if options.objective in {"perceptual", "both"}:
        load_perceptual_distance(find_weights_dir(options.weights_dir), torch.device("cpu"))
