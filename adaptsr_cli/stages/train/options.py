"""The options of ``train``, from what the user asked for to what the run is made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from adaptsr_cli.adapters.methods import validate_method_options
from adaptsr_cli.artifacts.base import Factorization, LoraInit, LoraScaling, Method, ShiraMask, Strategy
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.progress import Progress
from adaptsr_cli.ranking.allocation import DEFAULT_STRATEGY
from adaptsr_cli.runtime import pick_device, pick_precision
from adaptsr_cli.stages.common.models import ModelSpec
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.training_data import DEFAULT_CACHE, CacheSizes, fit_patch
from adaptsr_cli.stages.train.request import TrainRequest
from adaptsr_cli.training.config import (
    METHOD_RATES,
    TRAIN_PRESETS,
    ObjectiveName,
    PresetName,
    ScheduleName,
    TrainConfig,
)


@dataclass(frozen=True)
class TrainOptions:
    """What the user asked for; None means the preset's or a derived default."""

    run: RunFolder
    model: ModelSpec
    data: DataSpec
    val: Path | None = None
    rank_map: Path | None = None
    preset: PresetName = "fast"
    method: Method = "lora"
    objective: ObjectiveName = "fidelity"
    iterations: int | None = None
    minutes: float | None = None
    batch: int | None = None
    accumulate: int | None = None
    patch_px: int | None = None
    lr: float | None = None
    schedule: ScheduleName | None = None
    alpha: float | None = None
    scale: LoraScaling = "alpha/r"
    init: LoraInit | None = None
    conv_factorization: Factorization = "1x1-kxk"
    shira_mask: ShiraMask = "magnitude"
    lora_plus: float = 1.0
    ema: float | None = None
    patience: int | None = None
    degrade: str | None = None
    cache: CacheSizes = DEFAULT_CACHE
    val_freq: int | None = None
    save_freq: int | None = None
    device: str = "auto"
    precision: str = "auto"
    seed: int = 0
    tensorboard: bool = False
    checkpointing: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        # Before images and networks are opened, which may take long.
        validate_method_options(self.method, self.init or "default", self.conv_factorization, self.shira_mask)

    @property
    def strategy(self) -> Strategy:
        """How ranks are chosen where there is no rank map; the paper's preset goes by the paper's Algorithm 1."""
        return "greedy" if self.preset == "paper" else DEFAULT_STRATEGY

    @classmethod
    def of_request(
        cls,
        request: TrainRequest,
        *,
        run: RunFolder,
        weights_dir: Path,
        offline: bool,
        device: str,
        force: bool,
        cache: CacheSizes,
    ) -> Self:
        """The options that a request means.

        Args:
            request: Command line and file together.
            run: The run folder.
            weights_dir: Where downloaded checkpoints lie.
            offline: Never download.
            device: As in ``--device``.
            force: Replace what exists.
            cache: Room for decoded images.

        Raises:
            UsageError: No images are named, or in two ways at once; or the method would not obey one of the options.
        """
        return cls(
            run=run,
            model=ModelSpec(request.model, weights_dir, offline),
            data=request.images(),
            val=Path(request.val) if request.val else None,
            rank_map=Path(request.rank_map) if request.rank_map else None,
            preset=request.preset or "fast",
            method=request.method or "lora",
            objective=request.objective or "fidelity",
            iterations=request.iterations,
            minutes=request.minutes,
            batch=request.batch,
            accumulate=request.accumulate,
            patch_px=request.patch,
            lr=request.lr,
            schedule=request.schedule,
            alpha=request.alpha,
            scale=request.scale or "alpha/r",
            init=request.init,
            conv_factorization=request.conv_factorization or "1x1-kxk",
            shira_mask=request.shira_mask or "magnitude",
            lora_plus=request.lora_plus or 1.0,
            ema=request.ema,
            patience=request.patience,
            degrade=request.degrade,
            cache=cache,
            val_freq=request.val_freq,
            save_freq=request.save_freq,
            device=device,
            precision=request.precision or "auto",
            seed=request.seed or 0,
            tensorboard=request.tensorboard or False,
            checkpointing=request.checkpointing or False,
            force=force,
        )


def resolve_config(options: TrainOptions, backbone: Backbone, reader: Mixture, progress: Progress) -> TrainConfig:
    """The preset with the user's options put over it.

    Args:
        options: What the user asked for.
        backbone: The network; it decides which precisions can be had.
        reader: The training images; the smallest bounds the patch.
        progress: Told when the patch is smaller than the preset's.
    """
    preset = TRAIN_PRESETS[options.preset]
    iterations = options.iterations or preset.iterations
    often = min(1000, max(10, iterations // 10))
    precision = pick_precision(options.precision, pick_device(options.device), bf16=backbone.traits.bf16, fp16=False)
    return TrainConfig(
        preset=options.preset,
        method=options.method,
        objective=options.objective,
        iterations=iterations,
        minutes=options.minutes,
        batch=options.batch or preset.batch,
        accumulate=options.accumulate or 1,
        patch_px=fit_patch(reader, options.patch_px, preset.patch_px, progress),
        lr=options.lr or preset.lr * METHOD_RATES.get(options.method, 1.0),
        schedule=options.schedule or preset.schedule,
        alpha=options.alpha or preset.alpha,
        scale=options.scale,
        init=options.init or "default",
        conv_factorization=options.conv_factorization,
        shira_mask=options.shira_mask,
        lora_plus=options.lora_plus,
        ema=options.ema,
        patience=options.patience,
        degrade=options.degrade,
        val_freq=options.val_freq or often,
        save_freq=options.save_freq or often,
        precision=precision,
        seed=options.seed,
    )
