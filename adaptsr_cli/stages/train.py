"""Stage ``train``: low-rank adapters on the planned sites, the best on held-out images kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adaptsr_cli.adapters.attach import Attachment, attach
from adaptsr_cli.adapters.sites import Site, find_sites
from adaptsr_cli.artifacts import AdapterHeader, AdapterSite, RankMap
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.data.pairs import PairReader
from adaptsr_cli.data.sampler import BatchSampler
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.progress import Progress
from adaptsr_cli.report.figures import draw_curves
from adaptsr_cli.runtime import describe_device, peak_memory_bytes, pick_device, pick_precision, seed_everything
from adaptsr_cli.stages.adapter_file import write_adapter
from adaptsr_cli.stages.allocate import AllocateConfig, allocate
from adaptsr_cli.stages.pairs import TrainingData, fit_patch, open_reader, open_training_data
from adaptsr_cli.stages.run_folder import (
    ModelChoice,
    RunFolder,
    drop_training,
    open_backbone,
    provenance,
    require_same_backbone,
)
from adaptsr_cli.stages.score import ScoreConfig, score_backbone
from adaptsr_cli.training.config import PRESETS, PresetName, TrainConfig
from adaptsr_cli.training.log import read_log
from adaptsr_cli.training.loop import Outcome, Trainer
from adaptsr_cli.training.state import LoopState, RunPlan, require_same_run
from adaptsr_cli.training.validation import Validator
from adaptsr_cli.units import format_params, format_seconds, parse_budget

DEFAULT_BUDGET = "8%"


@dataclass(frozen=True)
class TrainOptions:
    """What the user asked for; None means the preset's or a derived default."""

    run: RunFolder
    model: ModelChoice
    data: Path
    val: Path | None = None
    rank_map: Path | None = None
    preset: PresetName = "fast"
    iterations: int | None = None
    minutes: float | None = None
    batch: int | None = None
    patch_px: int | None = None
    lr: float | None = None
    alpha: float | None = None
    degrade: str | None = None
    val_freq: int | None = None
    save_freq: int | None = None
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0
    force: bool = False


@dataclass(frozen=True)
class TrainReport:
    """What a training run came to."""

    adapter: Path
    params: int
    iterations: int
    seconds: float
    seconds_per_iteration: float | None
    backbone_psnr_y_db: float
    best_psnr_y_db: float
    best_iteration: int
    peak_memory_bytes: int | None


def train(options: TrainOptions, progress: Progress) -> TrainReport:
    """Trains, or goes on training, and writes ``adapter.safetensors`` and ``training/``.

    With no rank map in the run folder it scores and allocates first.

    Raises:
        ArtifactError: The run folder holds another run, or the rank map is for another backbone.
        Interrupted: SIGINT or SIGTERM; the same command goes on.
    """
    data = open_training_data(options.data, options.val, options.seed, progress)
    backbone = open_backbone(options.run, options.model, progress)
    return train_backbone(options, backbone, data, progress)


def train_backbone(options: TrainOptions, backbone: Backbone, data: TrainingData, progress: Progress) -> TrainReport:
    """`train` for a backbone and data that are open already."""
    run = options.run
    if options.force:
        drop_training(run)
    elif run.adapter.exists() and not run.training.state.exists():
        raise ArtifactError(
            f"{run.adapter} exists, but {run.training.state} to go on from does not",
            "start anew with --force, or use another --run",
        )
    device = pick_device(options.device)
    rank_map = _open_rank_map(options, backbone, data, progress)
    reader = open_reader(data.train, backbone.scale, options.degrade, options.seed)
    held_out = open_reader(data.held_out, backbone.scale, options.degrade, options.seed)
    config = resolve_config(options, backbone, reader, progress)
    plan = _plan(backbone, rank_map, options.rank_map or run.rank_map)
    seed_everything(config.seed)
    backbone.to(device)
    sampler = BatchSampler(reader, batch=config.batch, patch_px=config.patch_px, seed=config.seed)
    attachment = attach(backbone.model, plan, alpha=config.alpha, seed=config.seed)
    share = attachment.params / backbone.identity.params
    progress.note(
        f"training {format_params(attachment.params)} of {format_params(backbone.identity.params)} parameters "
        f"({share:.1%}) on {describe_device(device)}, {config.precision}"
    )
    run_plan = RunPlan(
        config=config,
        backbone_sha256=backbone.identity.sha256,
        data_fingerprint=data.fingerprint,
        ranks={site.name: rank for site, rank in plan},
    )
    if run.training.state.exists():
        # Before anything is written: the split of the run that is there must not be replaced by another's.
        require_same_run(run.training.state, run_plan)
    write_document(run.config, config)
    write_document(run.split, data.record(options.data))
    made = provenance("train", config.model_dump(), config.seed, data.fingerprint)

    def keep_best(best: Attachment, state: LoopState) -> None:
        header = AdapterHeader(
            backbone=backbone.identity,
            provenance=made,
            method=config.method,
            factorization="1x1-kxk",
            sites=tuple(
                AdapterSite(name=site.name, kind=site.kind, shape=site.shape, rank=rank, alpha=config.alpha)
                for site, rank in plan
                if rank > 0
            ),
            iteration=state.iteration,
            val_psnr_y_db=state.best_psnr_y_db,
            backbone_psnr_y_db=state.backbone_psnr_y_db,
        )
        write_adapter(run.adapter, header, best.state())

    trainer = Trainer(
        backbone=backbone,
        attachment=attachment,
        batches=sampler,
        validator=Validator(held_out, backbone.scale),
        plan=run_plan,
        folder=run.training,
        device=device,
        keep_best=keep_best,
    )
    outcome = trainer.run(progress)
    draw_curves(run.curves, read_log(run.training.log))
    return _report(run, attachment, outcome, peak_memory_bytes(device), progress)


def resolve_config(options: TrainOptions, backbone: Backbone, reader: PairReader, progress: Progress) -> TrainConfig:
    """The preset with the user's options put over it."""
    preset = PRESETS[options.preset]
    iterations = options.iterations or preset.iterations
    often = min(1000, max(10, iterations // 10))
    precision = pick_precision(options.precision, pick_device(options.device), bf16=backbone.traits.bf16, fp16=False)
    return TrainConfig(
        preset=options.preset,
        iterations=iterations,
        minutes=options.minutes,
        batch=options.batch or preset.batch,
        patch_px=fit_patch(reader, options.patch_px, preset.patch_px, progress),
        lr=options.lr or preset.lr,
        schedule=preset.schedule,
        alpha=options.alpha or preset.alpha,
        degrade=options.degrade,
        val_freq=options.val_freq or often,
        save_freq=options.save_freq or often,
        precision=precision,
        seed=options.seed,
    )


def _open_rank_map(options: TrainOptions, backbone: Backbone, data: TrainingData, progress: Progress) -> RankMap:
    """The named or the run's rank map; where there is none it is made, and the user is told."""
    path = options.rank_map or options.run.rank_map
    if options.rank_map is None and not path.exists():
        if not options.run.saliency.exists():
            progress.note("no saliency in the run folder: scoring first")
            scoring = ScoreConfig(
                run=options.run,
                model=options.model,
                data=options.data,
                val=options.val,
                degrade=options.degrade,
                device=options.device,
                precision=options.precision,
                seed=options.seed,
            )
            score_backbone(scoring, backbone, data, progress)
        progress.note(f"no rank map in the run folder: allocating {DEFAULT_BUDGET} of the backbone")
        allocate(AllocateConfig(run=options.run, budget=parse_budget(DEFAULT_BUDGET)), progress)
    if not path.exists():
        raise ArtifactError(f"there is no {path}", "make it with `adaptsr allocate --budget 8%`")
    rank_map = read_document(path, RankMap)
    require_same_backbone(rank_map.backbone, path, backbone.identity)
    return rank_map


def _plan(backbone: Backbone, rank_map: RankMap, path: Path) -> list[tuple[Site, int]]:
    """The sites with their ranks, by exact name (R6)."""
    table = find_sites(backbone.model, backbone.traits)
    names = [entry.name for entry in rank_map.sites]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ArtifactError(f"{path} names {twice} twice", "make the rank map anew with `adaptsr allocate`")
    sites = table.select(names, str(path))
    plan = [(site, entry.rank) for site, entry in zip(sites, rank_map.sites, strict=True)]
    if not any(rank for _, rank in plan):
        raise ArtifactError(f"{path} gives rank 0 to every site", "there is nothing to train; allocate a budget")
    return plan


def _report(
    run: RunFolder, attachment: Attachment, outcome: Outcome, peak_bytes: int | None, progress: Progress
) -> TrainReport:
    state = outcome.state
    if state.best_iteration == 0:
        progress.warn(
            f"no adapter was better than the backbone ({state.backbone_psnr_y_db:.2f} dB) on held-out images; the "
            "kept adapter changes nothing. More pairs, a smaller --lr or more --iterations may help"
        )
    elif outcome.seconds_per_iteration is None:
        progress.note(f"this run is finished already ({format_seconds(state.elapsed_s)}); --force trains anew")
    return TrainReport(
        adapter=run.adapter,
        params=attachment.params,
        iterations=state.iteration,
        seconds=state.elapsed_s,
        seconds_per_iteration=outcome.seconds_per_iteration,
        backbone_psnr_y_db=state.backbone_psnr_y_db,
        best_psnr_y_db=state.best_psnr_y_db,
        best_iteration=state.best_iteration,
        peak_memory_bytes=peak_bytes,
    )
