"""Stage ``score``: how much the loss wants each site changed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from adaptsr_cli.adapters.sites import SiteTable, find_sites
from adaptsr_cli.artifacts.base import Criterion, InitDirectionsHeader, Saliency, SiteSaliency, SkippedSite
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.data.prefetch import Prefetcher
from adaptsr_cli.data.sampler import Batch, BatchSampler
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import TrainingError
from adaptsr_cli.io.documents import write_document
from adaptsr_cli.io.lock import hold_folder
from adaptsr_cli.progress import Progress
from adaptsr_cli.ranking.saliency import Measurement, measure_gradients
from adaptsr_cli.report.figures import draw_saliency
from adaptsr_cli.runtime import describe_device, pick_device, pick_precision
from adaptsr_cli.stages.common.init_directions import write_directions
from adaptsr_cli.stages.common.lr_degradation import choose_degradation
from adaptsr_cli.stages.common.models import ModelSpec, expected_scale, open_backbone
from adaptsr_cli.stages.common.run_folder import RunFolder, provenance, refuse_overwriting
from adaptsr_cli.stages.common.training_data import (
    DEFAULT_CACHE,
    CacheSizes,
    TrainingData,
    fit_patch,
    open_reader,
    open_training_data,
)

DEFAULT_PATCH_PX = 128


@dataclass(frozen=True)
class ScoreOptions:
    """What to score.

    Attributes:
        criterion: Which of the criteria is the score that later stages go by; all are measured.
        batches: Number of batches N the criterion is averaged over.
        batch: Patches a batch.
        patch_px: Side of the HR patch in pixels; None for 128 or what the images allow.
        degrade: Degradation for photos without an LR side; None for the run's.
        cache: Room for decoded images.
    """

    run: RunFolder
    model: ModelSpec
    data: DataSpec
    val: Path | None = None
    criterion: Criterion = "gradient"
    batches: int = 20
    batch: int = 8
    patch_px: int | None = None
    degrade: str | None = None
    cache: CacheSizes = DEFAULT_CACHE
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0
    force: bool = False


def score(config: ScoreOptions, progress: Progress, world: World = SINGLE_PROCESS) -> Path:
    """Measures the saliency of every site and writes ``saliency.json``, ``.safetensors`` and ``.png``.

    Only images that ``train`` would train on are used, so held-out images stay unseen.

    Args:
        config: What to score.
        progress: Where to tell.
        world: The processes that share the batches; only the first one writes.

    Returns:
        The path of ``saliency.json``.
    """
    with ExitStack() as stack:
        if world.is_main_process:
            refuse_overwriting({"saliency": config.run.saliency}, force=config.force)
            stack.enter_context(hold_folder(config.run.root))
        with world.rank_zero_first():  # what it has checked, the others need not check again
            scale = expected_scale(config.run, config.model.name)
            data = open_training_data(config.data, config.val, config.seed, progress, scale, config.cache)
            backbone = open_backbone(config.run, config.model, progress, record=world.is_main_process)
        return score_backbone(config, backbone, data, progress, world)


def score_backbone(
    config: ScoreOptions, backbone: Backbone, data: TrainingData, progress: Progress, world: World = SINGLE_PROCESS
) -> Path:
    """`score` for a backbone and data that are open already."""
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device, bf16=backbone.traits.bf16, fp16=backbone.traits.fp16)
    degradation = choose_degradation(
        config.run, data.train, config.degrade, progress, seed=config.seed, force=config.force, world=world
    )
    reader = open_reader(data.train, backbone.scale, degradation, config.seed, data.cache)
    patch_px = fit_patch(reader, config.patch_px, DEFAULT_PATCH_PX, progress)
    sampler = BatchSampler(reader, batch=config.batch, patch_px=patch_px, seed=config.seed, device=device)
    table = find_sites(backbone.model, backbone.traits)
    if not table.sites:
        raise TrainingError(f"{backbone.identity.source} has no weight that can be adapted", "use another backbone")
    backbone.to(device)
    title = f"score on {describe_device(device)}"
    share = world.share(config.batches)
    with (
        progress.task(title, len(share), unit="batch") as task,
        Prefetcher(_Every(sampler, share), 0, len(share)) as own,
    ):
        measurement = measure_gradients(
            backbone,
            table.sites,
            (own.sample(place) for place in range(len(share))),
            device=device,
            precision=precision,
            task=task,
            world=world,
            seed=config.seed,
        )
    if world.is_main_process:
        made_by = degradation.name if degradation is not None else None
        saliency = _to_artifact(config, backbone, data, table, patch_px, made_by, measurement)
        # Before the saliency, which says that the stage is done.
        write_directions(
            config.run.directions,
            InitDirectionsHeader(backbone=saliency.backbone, provenance=saliency.provenance),
            {
                site.name: measure.directions
                for site, measure in zip(table.sites, measurement.sites, strict=True)
                if measure.directions is not None
            },
        )
        write_document(config.run.saliency, saliency)
        draw_saliency(config.run.saliency.with_suffix(".png"), saliency)
    world.barrier()
    return config.run.saliency


@dataclass(frozen=True)
class _Every:
    """Some of a sampler's batches, counted from 0."""

    sampler: BatchSampler
    iterations: range

    def sample(self, iteration: int) -> Batch:
        return self.sampler.sample(self.iterations[iteration])


def _to_artifact(
    config: ScoreOptions,
    backbone: Backbone,
    data: TrainingData,
    table: SiteTable,
    patch_px: int,
    degradation: str | None,
    measurement: Measurement,
) -> Saliency:
    sites, unreached = [], []
    for site, measure in zip(table.sites, measurement.sites, strict=True):
        if not measure.reached:
            unreached.append(SkippedSite(name=site.name, reason="no gradient reaches it"))
            continue
        sites.append(
            SiteSaliency(
                name=site.name,
                block=site.block,
                kind=site.kind,
                shape=site.shape,
                params=site.params,
                rank_cost=site.rank_cost,
                max_rank=site.max_rank,
                score=getattr(measure.scores, config.criterion),
                score_std=measure.spread.get(config.criterion, 0.0),
                spectrum=measure.spectrum,
                gains=measure.gains,
                criteria=measure.scores,
            )
        )
    options = {"batches": config.batches, "batch": config.batch, "patch": patch_px, "degrade": degradation}
    return Saliency(
        backbone=backbone.identity,
        provenance=provenance("score", options, config.seed, data.train_fingerprint),
        criterion=config.criterion,
        batches=config.batches,
        batch=config.batch,
        patch_px=patch_px,
        mean_loss=measurement.mean_loss,
        mean_spearman=measurement.mean_spearman.get(config.criterion),
        sites=tuple(sites),
        skipped=(*table.skipped, *unreached),
    )
