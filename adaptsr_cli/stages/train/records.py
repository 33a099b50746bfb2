"""The records of a training run: options, split, card, the best adapter, and what the user is told at the end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.artifacts.adapter import AdapterHeader, AdapterSite
from adaptsr_cli.artifacts.card import RunCard
from adaptsr_cli.artifacts.degradation import DegradationRecord
from adaptsr_cli.artifacts.saliency import Saliency
from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.artifacts.train_state import LoopState, RunFingerprint
from adaptsr_cli.artifacts.transfer import PairEstimate, TransferEstimate
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.catalogue import is_bundled
from adaptsr_cli.backbones.hyperparameters import list_choices
from adaptsr_cli.data.cache import CacheStats
from adaptsr_cli.distributed import World
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.documents import read_document, write_document, write_toml
from adaptsr_cli.progress import Progress
from adaptsr_cli.report.camera import draw_camera
from adaptsr_cli.report.figures import draw_rank_heatmap, draw_saliency
from adaptsr_cli.stages.common.adapter_file import write_adapter
from adaptsr_cli.stages.common.lr_degradation import is_auto
from adaptsr_cli.stages.common.open_run import OpenRun
from adaptsr_cli.stages.common.run_folder import RunFolder, provenance
from adaptsr_cli.stages.train.options import TrainOptions, resolved_options
from adaptsr_cli.stages.train.rank_plan import RankPlan
from adaptsr_cli.training.log import read_log
from adaptsr_cli.training.loop import TrainingOutcome
from adaptsr_cli.training.objective import Objective
from adaptsr_cli.training.overfitting import find_overfitting
from adaptsr_cli.training.recovery import COLLAPSE_DB
from adaptsr_cli.units import format_bytes


def write_run_records(options: TrainOptions, config: TrainConfig, opened: OpenRun, plan: RankPlan) -> None:
    """Write ``training/config.toml`` and ``training/split.json``, and draw what is known and has no picture yet.

    Args:
        options: What the user asked for, of which this training may be a part.
        config: What it came to.
        opened: The run.
        plan: Its ranks.
    """
    run, backbone = opened.run, opened.backbone
    is_found_out = run.degradation.exists() and is_auto(options.degrade)
    resolved = resolved_options(
        options.images,
        config,
        {
            "val": options.val,
            "test": options.test,
            # Ranks that the user chose, and what a run continues, which lies beside its rank map.
            "rank_map": None if options.rank_map is None and plan.is_usual else plan.path,
        },
        options.open_of_each_part if options.objective == "both" else frozenset(),
        tensorboard=options.tensorboard,
        checkpointing=options.checkpointing,
        objective=options.objective,
        **({} if options.minutes is None else {"minutes": options.minutes}),
        **({} if is_bundled(backbone.checkpoint.path) else {"model": str(backbone.checkpoint.path.resolve())}),
        **({"model_options": list_choices(backbone.identity.options)} if backbone.identity.options else {}),
        **({"degrade": str(run.degradation.resolve())} if is_found_out else {}),
    )
    comment = "what this run was made with; repeat it with: adaptsr train --config FILE"
    if opened.data.watches_train:
        comment = "what `adapt --folds` made the final model with, on all images, which `train` alone cannot repeat"
    write_toml(run.config, resolved, comment)
    write_document(run.split, opened.data.record(options.images))
    known = read_document(run.degradation, DegradationRecord) if run.degradation.exists() else None
    if known is not None and isinstance(known.estimate, TransferEstimate | PairEstimate):
        draw_camera(run.camera, known.estimate)
    _draw_missing_pictures(run, plan)


def _draw_missing_pictures(run: RunFolder, plan: RankPlan) -> None:
    """Draw what an earlier command was stopped at, after it had written what is drawn."""
    picture = run.rank_map.with_suffix(".png")
    if plan.path == run.rank_map and not picture.exists():
        draw_rank_heatmap(picture, plan.rank_map)
    picture = run.saliency.with_suffix(".png")
    if run.saliency.exists() and not picture.exists():
        with suppress(ArtifactError):  # it is damaged, as the user was warned, and needed no more
            draw_saliency(picture, read_document(run.saliency, Saliency))


@dataclass(frozen=True)
class BestAdapterWriter:
    """Writes the best adapter under its name.

    Attributes:
        sites: Every site with its rank.
        made_by: The run.
    """

    run: RunFolder
    backbone: Backbone
    sites: list[tuple[Site, int]]
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
            lora_scaling=config.lora_scaling,
            factorization=config.conv_factorization,
            init=config.init,
            base=self.made_by.base,
            sites=tuple(
                AdapterSite(name=site.name, kind=site.kind, shape=site.shape, rank=rank, alpha=config.alpha)
                for site, rank in self.sites
                if rank > 0
            ),
            iteration=state.iteration,
            val_psnr_y_db=state.best_psnr_y_db,
            backbone_psnr_y_db=state.backbone_psnr_y_db,
        )
        write_adapter(self.run.adapter, header, best.state())


def fill_card(
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
        rate_cuts=state.rate_cuts,
    )


def keep_card(path: Path, card: RunCard, outcome: TrainingOutcome) -> RunCard:
    """Write the card, unless nothing was left to train: the one that is there is of the machine that did the work."""
    if outcome.seconds_per_iteration is None and path.exists():
        return read_document(path, RunCard)
    write_document(path, card)
    return card


def tell_cache(stats: CacheStats, images: int, progress: Progress) -> None:
    """Say when images had to be decoded again and again."""
    if stats.misses > 2 * images:
        progress.note(
            f"the decoded images do not fit into the cache ({format_bytes(stats.ram_bytes)} of memory are used), so "
            f"{stats.misses:,} readings decoded a file; `cache_ram` gives more room"
        )


def tell_result(run: RunFolder, state: LoopState, objective: Objective, progress: Progress) -> None:
    """Say what the user should know about how the run went."""
    if not objective.seeks_psnr and state.best_iteration < state.iteration:
        where = f"that of iteration {state.best_iteration}" if state.best_iteration else "the one it started from"
        progress.warn(
            f"the training collapsed: on held-out images it lost more than {COLLAPSE_DB:g} dB of the backbone's "
            f"{state.backbone_psnr_y_db:.2f} dB, so the adapter that is kept is {where}; a smaller `learning_rate` may "
            "help"
        )
    elif not objective.seeks_psnr:
        if state.iteration:
            progress.note(
                f"the last adapter is kept: `objective` {state.plan.config.objective} gives up PSNR for sharpness, so "
                "the held-out PSNR says little; look at training/samples and at LPIPS in `adaptsr eval`"
            )
    elif state.best_iteration == 0 and state.plan.config.init == "adapter":
        progress.warn(
            f"no adapter was better on held-out images than the one that this run continued "
            f"({state.best_psnr_y_db:.2f} dB), which is kept; a smaller `learning_rate` may help"
        )
    elif state.best_iteration == 0:
        progress.warn(
            f"no adapter was better than the backbone ({state.backbone_psnr_y_db:.2f} dB) on held-out images; the "
            "kept adapter changes nothing. More pairs, a smaller `learning_rate` or more `iterations` may help"
        )
    elif overfitting := find_overfitting(read_log(run.training.log)):
        progress.warn(overfitting)
