"""Stage ``score``: how much the loss wants each site changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adaptsr_cli.adapters.sites import SiteTable, find_sites
from adaptsr_cli.artifacts.files import FileAccount
from adaptsr_cli.artifacts.saliency import InitDirectionsHeader, Saliency, SiteSaliency, SkippedSite
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.data.prefetch import Prefetcher
from adaptsr_cli.data.sampler import Batch, BatchSampler
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import TrainingError
from adaptsr_cli.io.documents import write_document
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.ranking.saliency import Measurement, measure_gradients
from adaptsr_cli.report.figures import draw_saliency
from adaptsr_cli.runtime import describe_device, pick_device, pick_precision
from adaptsr_cli.stages.common.init_directions import write_directions
from adaptsr_cli.stages.common.lr_degradation import choose_degradation
from adaptsr_cli.stages.common.open_run import OpenRun, open_run
from adaptsr_cli.stages.common.run_folder import provenance, refuse_overwriting
from adaptsr_cli.stages.common.training_data import TrainingData, fit_patch, open_reader
from adaptsr_cli.stages.score.options import ScoreOptions

DEFAULT_PATCH_PX: Final = 128


@dataclass(frozen=True)
class ScoreResult:
    """What was measured and where it was written.

    Attributes:
        path: ``saliency.json``.
        heatmap: A picture of it.
        directions: Where the gradient of every site points.
        files: What became of every file of the data folders.
    """

    saliency: Saliency
    path: Path
    heatmap: Path
    directions: Path
    files: tuple[FileAccount, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The saliency, and what became of the files."""
        files = [account.model_dump(mode="json") for account in self.files]
        return {**self.saliency.model_dump(mode="json"), "files": files}


def run_score(options: ScoreOptions, *, progress: Progress = SILENT, world: World = SINGLE_PROCESS) -> ScoreResult:
    """Measure the saliency of every site and write ``saliency.json``, ``.safetensors`` and ``.png``.

    Only images that ``train`` would train on are used, so held-out images stay unseen.

    Args:
        options: What to score.
        progress: Where to tell.
        world: The processes that share the batches; only the first one writes.

    Raises:
        OutputExistsError: The run has been scored already.
        TrainingError: The network has nothing to adapt.
    """
    if world.is_main_process:
        refuse_overwriting({"saliency": options.run_folder.saliency}, force=options.force)
    with open_run(options, progress, world) as opened:
        return score_backbone(options, opened, progress, world)


def score_backbone(options: ScoreOptions, opened: OpenRun, progress: Progress, world: World) -> ScoreResult:
    """`run_score` in a run that is open already."""
    run, backbone, data = opened.run, opened.backbone, opened.data
    device = pick_device(options.device)
    traits = backbone.traits
    precision = pick_precision(
        options.precision, device, bf16=traits.bf16, fp16=traits.fp16, bf16_on_cpu=backbone.trains_in_bf16_on_cpu
    )
    degradation = choose_degradation(
        run,
        data.train,
        options.degrade,
        progress,
        scale=backbone.scale,
        seed=options.seed,
        force=options.force,
        world=world,
    )
    reader = open_reader(data.train, backbone.scale, degradation, options.seed, data.cache)
    patch_px = fit_patch(reader, options.patch, DEFAULT_PATCH_PX, progress)
    sampler = BatchSampler(reader, batch=options.batch, patch_px=patch_px, seed=options.seed, device=device)
    table = find_sites(backbone.model, backbone.traits)
    if not table.sites:
        raise TrainingError(f"{backbone.identity.source} has no weight that can be adapted", "use another backbone")
    backbone.to(device)
    title = f"score on {describe_device(device)}"
    share = world.share(options.batches)
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
            seed=options.seed,
        )
    made_by = degradation.name if degradation is not None else None
    saliency = _to_artifact(options, backbone, data, table, patch_px, made_by, measurement)
    result = ScoreResult(saliency, run.saliency, run.saliency.with_suffix(".png"), run.directions, data.files)
    if world.is_main_process:
        # Before the saliency, which says that the stage is done.
        write_directions(
            result.directions,
            InitDirectionsHeader(backbone=saliency.backbone, provenance=saliency.provenance),
            {
                site.name: measure.directions
                for site, measure in zip(table.sites, measurement.sites, strict=True)
                if measure.directions is not None
            },
        )
        write_document(result.path, saliency)
        draw_saliency(result.heatmap, saliency)
    world.barrier()
    return result


@dataclass(frozen=True)
class _Every:
    """Some of a sampler's batches, counted from 0."""

    sampler: BatchSampler
    iterations: range

    def sample(self, iteration: int) -> Batch:
        return self.sampler.sample(self.iterations[iteration])


def _to_artifact(
    options: ScoreOptions,
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
                score=measure.scores[options.criterion],
                score_std=measure.spread.get(options.criterion, 0.0),
                spectrum=measure.spectrum,
                gains=measure.gains,
                criteria=dict(measure.scores),
            )
        )
    record = {"batches": options.batches, "batch": options.batch, "patch": patch_px, "degrade": degradation}
    return Saliency(
        backbone=backbone.identity,
        provenance=provenance("score", record, options.seed, data.train_fingerprint),
        criterion=options.criterion,
        batches=options.batches,
        batch=options.batch,
        patch_px=patch_px,
        mean_loss=measurement.mean_loss,
        mean_spearman=measurement.mean_spearman.get(options.criterion),
        sites=tuple(sites),
        skipped=(*table.skipped, *unreached),
    )
