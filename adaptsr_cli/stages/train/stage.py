"""Stage ``train``: adapters on the planned sites, the best on held-out images kept."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.artifacts.base import AdapterHeader, AdapterSite, RankMap
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.catalogue import is_bundled
from adaptsr_cli.data.cache import CacheStats
from adaptsr_cli.data.sampler import Batch, BatchSampler
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import ArtifactError, UsageError
from adaptsr_cli.io.documents import read_document, write_document, write_toml
from adaptsr_cli.io.lock import hold_folder
from adaptsr_cli.progress import Progress, TellOnce
from adaptsr_cli.report.figures import draw_curves
from adaptsr_cli.runtime import describe_device, pick_device, seed_everything
from adaptsr_cli.stages.allocate.stage import AllocateOptions, allocate
from adaptsr_cli.stages.common.adapter_file import write_adapter
from adaptsr_cli.stages.common.init_directions import find_init_directions
from adaptsr_cli.stages.common.lr_degradation import choose_degradation, degradation_sha256, is_auto, run_degradation
from adaptsr_cli.stages.common.models import expected_scale, open_backbone, require_same_backbone
from adaptsr_cli.stages.common.run_folder import RunFolder, drop_training, provenance
from adaptsr_cli.stages.common.training_data import TrainingData, open_reader, open_training_data
from adaptsr_cli.stages.score import ScoreOptions, score_backbone
from adaptsr_cli.stages.train.build_adapters import build_adapters
from adaptsr_cli.stages.train.options import TrainOptions, resolve_config
from adaptsr_cli.stages.train.request import resolved_request
from adaptsr_cli.stages.train.warm_start import apply_warm_start, choose_init
from adaptsr_cli.training.card import RunCard
from adaptsr_cli.training.log import read_log
from adaptsr_cli.training.loop import Trainer
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.overfitting import find_overfitting
from adaptsr_cli.training.state import LoopState, RunFingerprint, require_same_run
from adaptsr_cli.training.validation import Validator
from adaptsr_cli.units import format_bytes, format_params, format_seconds, parse_budget, plural

DEFAULT_BUDGET = "8%"
FEW_IMAGES = 6


@dataclass(frozen=True)
class TrainResult:
    """What a training run came to.

    Attributes:
        seconds_per_iteration: Of this sitting; None where nothing was left to train.
    """

    adapter: Path
    card: RunCard
    seconds_per_iteration: float | None


def train(options: TrainOptions, progress: Progress, world: World = SINGLE_PROCESS) -> TrainResult:
    """Trains, or goes on training, and writes ``adapter.safetensors`` and ``training/``.

    With no rank map in the run folder it scores and allocates first.

    Args:
        options: What the user asked for.
        progress: Where to tell.
        world: The processes that train together; only the first one writes.

    Raises:
        ArtifactError: The run folder holds another run, or the rank map is for another backbone.
        BusyError: Another process is at work in the run folder.
        Interrupted: SIGINT or SIGTERM; the same command goes on.
    """
    progress = TellOnce(progress)
    with ExitStack() as stack:
        if world.is_main_process:
            stack.enter_context(hold_folder(options.run.root))
        with world.rank_zero_first():  # what it has checked, the others need not check again
            scale = expected_scale(options.run, options.model.name)
            data = open_training_data(options.data, options.val, options.seed, progress, scale, options.cache)
            backbone = open_backbone(options.run, options.model, progress, record=world.is_main_process)
        return train_backbone(options, backbone, data, progress, world)


def train_backbone(
    options: TrainOptions, backbone: Backbone, data: TrainingData, progress: Progress, world: World = SINGLE_PROCESS
) -> TrainResult:
    """`train` for a backbone and data that are open already."""
    run = options.run
    if world.is_main_process:
        if options.force:
            drop_training(run)
        elif run.adapter.exists() and not run.training.state.exists():
            raise ArtifactError(
                f"{run.adapter} exists, but {run.training.state} to go on from does not",
                "start anew with --force, or use another --run",
            )
    device = pick_device(options.device)
    rank_map = _open_rank_map(options, backbone, data, progress, world)
    options = choose_init(options, rank_map, options.rank_map or run.rank_map, progress)
    degradation = choose_degradation(
        run, data.train, options.degrade, progress, seed=options.seed, force=options.force, world=world
    )
    reader = open_reader(data.train, backbone.scale, degradation, options.seed, data.cache)
    # Photographs to be watched need one too, even if all that is trained on are pairs.
    watched = degradation or run_degradation(run, data.held_out, options.degrade)
    held_out = open_reader(data.held_out, backbone.scale, watched, options.seed, data.cache)
    config = resolve_config(options, backbone, reader, progress)
    if config.batch < world.size * config.accumulate:
        raise UsageError(
            f"--batch {config.batch} is too small for {world.size} x {config.accumulate} parts",
            f"use --batch {world.size * config.accumulate} or more, a smaller --accumulate or fewer processes",
        )
    plan = _plan(backbone, rank_map, options.rank_map or run.rank_map)
    seed_everything(config.seed)
    backbone.to(device)
    block = world.block(config.batch)
    sampler = BatchSampler(reader, batch=config.batch, patch_px=config.patch_px, seed=config.seed, device=device)
    batches = _Share(sampler, block.start, len(block))
    attachment = build_adapters(
        config,
        backbone,
        plan,
        run,
        batches,
        directions=find_init_directions(run, options.rank_map or run.rank_map),
        device=device,
        world=world,
        progress=progress,
    )
    if config.init == "adapter":
        apply_warm_start(
            attachment, backbone, config, rank_map, options.rank_map or run.rank_map, data.fingerprint, progress
        )
    run_fingerprint = RunFingerprint(
        config=config,
        backbone_sha256=backbone.identity.sha256,
        data_fingerprint=data.fingerprint,
        degradation_sha256=degradation_sha256(watched),
        start_sha256=(rank_map.start_sha256 or "") if config.init == "adapter" else "",
        ranks={site.name: rank for site, rank in plan},
    )
    if run.training.state.exists():
        # Before anything is written: the split of the run that is there must not be replaced by another's.
        require_same_run(run.training.state, run_fingerprint)
    objective = make_objective(
        config.objective,
        weights_dir=options.model.weights_dir,
        device=device,
        seed=config.seed,
        iterations=config.iterations,
    )
    if config.patience is not None and not objective.seeks_psnr:
        raise UsageError(
            f"--patience watches PSNR, which --objective {config.objective} gives up on purpose",
            "leave --patience out, or use --iterations or --minutes",
        )
    share = attachment.params / backbone.identity.params
    progress.note(
        f"training {format_params(attachment.params)} of {format_params(backbone.identity.params)} parameters "
        f"({share:.1%}) on {_describe_devices(world, describe_device(device))}, {config.precision}; "
        f"objective: {objective.describe()}"
    )
    if len(reader) < FEW_IMAGES:
        progress.warn(
            f"only {plural(len(reader), 'image')} to train on: the held-out score may turn early; the best adapter is "
            "kept, and --patience 3 stops in time"
        )
    if world.is_main_process:
        request = resolved_request(
            options.data,
            config,
            val=options.val,
            model=None if is_bundled(backbone.checkpoint.path) else backbone.checkpoint.path,
            # What the run goes on from lies beside its rank map, so that whoever repeats it needs both.
            rank_map=options.rank_map or (run.rank_map if config.init == "adapter" else None),
            degradation=run.degradation if run.degradation.exists() and is_auto(options.degrade) else None,
            tensorboard=options.tensorboard,
            checkpointing=options.checkpointing,
        )
        write_toml(run.config, request, "what this run was made with; repeat it with: adaptsr train --config FILE")
        write_document(run.split, data.record(options.data))
    trainer = Trainer(
        backbone=backbone,
        attachment=attachment,
        batches=batches,
        validator=Validator(held_out, backbone.scale, world),
        objective=objective,
        plan=run_fingerprint,
        folder=run.training,
        device=device,
        keep_best=_BestAdapterWriter(run, backbone, plan, run_fingerprint),
        world=world,
        share=len(block) / config.batch,
        tensorboard=options.tensorboard,
        checkpointed=_blocks_to_checkpoint(options.checkpointing, plan, progress),
    )
    outcome = trainer.run(progress)
    _tell_cache(data.cache.stats(), len(reader) + len(held_out), progress)
    state = outcome.state
    card = _fill_card(state, attachment, backbone, objective.describe(), describe_device(device), world)
    if world.is_main_process:
        write_document(run.card, card)
        draw_curves(run.curves, read_log(run.training.log))
        if objective.seeks_psnr:
            _judge(run, state, progress)
        elif state.iteration:
            progress.note(
                f"the last adapter is kept: --objective {config.objective} gives up PSNR for sharpness, so the "
                "held-out PSNR says little; look at training/samples and at LPIPS in `adaptsr eval`"
            )
    if outcome.seconds_per_iteration is None:
        progress.note(f"this run is finished already ({format_seconds(state.elapsed_s)}); --force trains anew")
    return TrainResult(run.adapter, card, outcome.seconds_per_iteration)


@dataclass(frozen=True)
class _Share:
    """This process's crops of every batch."""

    sampler: BatchSampler
    first: int
    count: int

    def sample(self, iteration: int) -> Batch:
        return self.sampler.sample_part(iteration, self.first, self.count)


@dataclass(frozen=True)
class _BestAdapterWriter:
    """Writes the best adapter under its name."""

    run: RunFolder
    backbone: Backbone
    plan: list[tuple[Site, int]]
    made_by: RunFingerprint

    def __call__(self, best: Attachment, state: LoopState) -> None:
        config = self.made_by.config
        options = config.model_dump()
        if self.made_by.start_sha256:
            options["start_sha256"] = self.made_by.start_sha256
        header = AdapterHeader(
            backbone=self.backbone.identity,
            provenance=provenance("train", options, config.seed, self.made_by.data_fingerprint),
            method=config.method,
            scale=config.scale,
            factorization=config.conv_factorization,
            init=config.init,
            sites=tuple(
                AdapterSite(name=site.name, kind=site.kind, shape=site.shape, rank=rank, alpha=config.alpha)
                for site, rank in self.plan
                if rank > 0
            ),
            iteration=state.iteration,
            val_psnr_y_db=state.best_psnr_y_db,
            backbone_psnr_y_db=state.backbone_psnr_y_db,
        )
        write_adapter(self.run.adapter, header, best.state())


def _blocks_to_checkpoint(wanted: bool, plan: list[tuple[Site, int]], progress: Progress) -> tuple[str, ...]:
    """The repeated blocks of the network, where checkpointing is asked for; says so where there are none."""
    blocks = tuple(dict.fromkeys(site.block for site, _ in plan if site.block)) if wanted else ()
    if wanted and not blocks:
        progress.warn("--checkpointing saves nothing: this network has no repeated blocks; try --accumulate")
    return blocks


def _describe_devices(world: World, device: str) -> str:
    return device if world.size == 1 else f"{world.size} processes, each on {device}"


def _open_rank_map(
    options: TrainOptions, backbone: Backbone, data: TrainingData, progress: Progress, world: World
) -> RankMap:
    """The named or the run's rank map; where there is none it is made, and the user is told."""
    path = options.rank_map or options.run.rank_map
    there, scored = world.gather((path.exists(), options.run.saliency.exists()))[0]
    if options.rank_map is None and not there:
        if not scored:
            progress.note("no saliency in the run folder: scoring first")
            scoring = ScoreOptions(
                run=options.run,
                model=options.model,
                data=options.data,
                val=options.val,
                degrade=options.degrade,
                device=options.device,
                precision=options.precision,
                seed=options.seed,
            )
            score_backbone(scoring, backbone, data, progress, world)
        progress.note(f"no rank map in the run folder: allocating {DEFAULT_BUDGET} of the backbone")
        with world.rank_zero_first():
            if world.is_main_process:
                budget = parse_budget(DEFAULT_BUDGET)
                allocate(AllocateOptions(run=options.run, budget=budget, strategy=options.strategy), progress)
    if not path.exists():
        raise ArtifactError(f"there is no {path}", "make it with `adaptsr allocate --budget 8%`")
    rank_map = read_document(path, RankMap)
    require_same_backbone(rank_map.backbone, path, backbone.identity)
    return rank_map


def _plan(backbone: Backbone, rank_map: RankMap, path: Path) -> list[tuple[Site, int]]:
    """The sites with their ranks, by exact name (R6)."""
    table = find_sites(backbone.model, backbone.traits)
    names = [entry.name for entry in rank_map.sites]
    sites = table.select(names, str(path))
    plan = [(site, entry.rank) for site, entry in zip(sites, rank_map.sites, strict=True)]
    if not any(rank for _, rank in plan):
        raise ArtifactError(f"{path} gives rank 0 to every site", "there is nothing to train; allocate a budget")
    return plan


def _fill_card(
    state: LoopState, attachment: Attachment, backbone: Backbone, objective: str, device: str, world: World
) -> RunCard:
    """The account of the run; what the processes have used each on its own is added up."""
    energies = world.gather(state.energy_j)
    return RunCard(
        trainable_params=attachment.params,
        total_params=backbone.identity.params,
        objective=objective,
        iterations=state.iteration,
        planned_iterations=state.plan.config.iterations,
        wall_s=state.elapsed_s,
        device=device,
        devices=world.size,
        device_hours=world.size * state.elapsed_s / 3600,
        data_wait_share=state.waited_s / max(state.elapsed_s, 1e-9),
        peak_device_bytes=state.peak_device_bytes,
        peak_host_bytes=state.peak_host_bytes,
        energy_j=sum(energy or 0.0 for energy in energies) if None not in energies else None,
        backbone_psnr_y_db=state.backbone_psnr_y_db,
        best_psnr_y_db=state.best_psnr_y_db,
        best_iteration=state.best_iteration,
        gain_db=state.best_psnr_y_db - state.backbone_psnr_y_db,
    )


def _tell_cache(stats: CacheStats, images: int, progress: Progress) -> None:
    """Says when images had to be decoded again and again."""
    if stats.disk_stopped:
        progress.note(f"decoded images no longer went to disk: {stats.disk_stopped}")
    if stats.misses > 2 * images:
        progress.note(
            f"the decoded images do not fit into the cache ({format_bytes(stats.ram_bytes)} of memory and "
            f"{format_bytes(stats.disk_bytes)} of disk are used), so {stats.misses:,} readings decoded a file; "
            "--cache-ram and --cache-disk give more room"
        )


def _judge(run: RunFolder, state: LoopState, progress: Progress) -> None:
    """Says what the user should know about how the run went."""
    if state.best_iteration == 0 and state.plan.config.init == "adapter":
        progress.warn(
            f"no adapter was better on held-out images than the one that this run went on from "
            f"({state.best_psnr_y_db:.2f} dB), which is kept; a smaller --lr may help"
        )
    elif state.best_iteration == 0:
        progress.warn(
            f"no adapter was better than the backbone ({state.backbone_psnr_y_db:.2f} dB) on held-out images; the "
            "kept adapter changes nothing. More pairs, a smaller --lr or more --iterations may help"
        )
    elif overfitting := find_overfitting(read_log(run.training.log)):
        progress.warn(overfitting)
