"""Stage ``score``: how much the loss wants each site changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adaptsr_cli.adapters.sites import SiteTable, find_sites
from adaptsr_cli.artifacts import Saliency, SiteSaliency, SkippedSite
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.data.pairs import set_fingerprint
from adaptsr_cli.data.sampler import BatchSampler
from adaptsr_cli.errors import TrainingError
from adaptsr_cli.io.documents import write_document
from adaptsr_cli.progress import Progress
from adaptsr_cli.ranking.saliency import Measurement, measure_gradients
from adaptsr_cli.report.figures import draw_saliency
from adaptsr_cli.runtime import describe_device, pick_device, pick_precision
from adaptsr_cli.stages.pairs import TrainingData, fit_patch, open_reader, open_training_data
from adaptsr_cli.stages.run_folder import (
    ModelChoice,
    RunFolder,
    open_backbone,
    provenance,
    refuse_overwriting,
)

DEFAULT_PATCH_PX = 128


@dataclass(frozen=True)
class ScoreConfig:
    """What to score.

    Attributes:
        batches: Number of batches N the criterion is averaged over.
        batch: Patches a batch.
        patch_px: Side of the HR patch in pixels; None for 128 or what the images allow.
        degrade: Degradation for photos without an LR side.
    """

    run: RunFolder
    model: ModelChoice
    data: Path
    val: Path | None = None
    criterion: Literal["gradient"] = "gradient"
    batches: int = 20
    batch: int = 8
    patch_px: int | None = None
    degrade: str | None = None
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0
    force: bool = False


def score(config: ScoreConfig, progress: Progress) -> Path:
    """Measures the saliency of every site and writes ``saliency.json`` and ``saliency.png``.

    Only images that ``train`` would train on are used, so held-out images stay unseen.

    Returns:
        The path of ``saliency.json``.
    """
    refuse_overwriting({"saliency": config.run.saliency}, force=config.force)
    data = open_training_data(config.data, config.val, config.seed, progress)
    backbone = open_backbone(config.run, config.model, progress)
    return score_backbone(config, backbone, data, progress)


def score_backbone(config: ScoreConfig, backbone: Backbone, data: TrainingData, progress: Progress) -> Path:
    """`score` for a backbone and data that are open already."""
    device = pick_device(config.device)
    precision = pick_precision(config.precision, device, bf16=backbone.traits.bf16, fp16=backbone.traits.fp16)
    reader = open_reader(data.train, backbone.scale, config.degrade, config.seed)
    patch_px = fit_patch(reader, config.patch_px, DEFAULT_PATCH_PX, progress)
    sampler = BatchSampler(reader, batch=config.batch, patch_px=patch_px, seed=config.seed)
    table = find_sites(backbone.model, backbone.traits)
    if not table.sites:
        raise TrainingError(f"{backbone.identity.source} has no weight that can be adapted", "use another backbone")
    backbone.to(device)
    title = f"score on {describe_device(device)}"
    with progress.task(title, config.batches, unit="batch") as task:
        measurement = measure_gradients(
            backbone,
            table.sites,
            (sampler.sample(index) for index in range(config.batches)),
            device=device,
            precision=precision,
            task=task,
        )
    saliency = _to_artifact(config, backbone, data, table, patch_px, measurement)
    write_document(config.run.saliency, saliency)
    draw_saliency(config.run.saliency.with_suffix(".png"), saliency)
    return config.run.saliency


def _to_artifact(
    config: ScoreConfig,
    backbone: Backbone,
    data: TrainingData,
    table: SiteTable,
    patch_px: int,
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
                score=measure.score,
                score_std=measure.score_std,
                spectrum=measure.spectrum,
            )
        )
    options = {"batches": config.batches, "batch": config.batch, "patch": patch_px, "degrade": config.degrade}
    return Saliency(
        backbone=backbone.identity,
        provenance=provenance("score", options, config.seed, set_fingerprint(data.train)),
        criterion=config.criterion,
        batches=config.batches,
        batch=config.batch,
        patch_px=patch_px,
        mean_loss=measurement.mean_loss,
        mean_spearman=measurement.mean_spearman,
        sites=tuple(sites),
        skipped=(*table.skipped, *unreached),
    )
