"""Scores of adapter blends on held-out images, by which ``merge --tune`` chooses weights and strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import torch

from adaptsr_cli.artifacts.merged import Tuning
from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.data.layouts import PairSet
from adaptsr_cli.data.sources import DataSpec
from adaptsr_cli.errors import DataError
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import upscale_batch
from adaptsr_cli.io.documents import read_document
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.blend import AdapterBlend
from adaptsr_cli.stages.common.lr_degradation import run_degradation
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.splitting import keep_roles
from adaptsr_cli.stages.common.training_data import CacheSizes, fingerprint_of, open_pairs, open_reader
from adaptsr_cli.stages.merge.blend import Tuned, Weights, tune_weights
from adaptsr_cli.training.validation import MAX_LR_PX, Validator
from adaptsr_cli.units import agree, plural

_MAX_LR_PX: Final = 4 * MAX_LR_PX  # blends differ by less than trainings


@dataclass(frozen=True)
class TuningJob:
    """Where to look for the best blend.

    Attributes:
        run: Its split says what was trained on, as do those beside the adapters.
        adapters: The adapters' files.
        data: Folder of pairs or photos.
    """

    run: RunFolder
    adapters: tuple[Path, ...]
    data: Path
    device: torch.device


def tune(job: TuningJob, blend: AdapterBlend, progress: Progress) -> tuple[Tuned, Tuning]:
    """Choose weights and strength by PSNR-Y on the images of a folder that none of the adapters was trained on.

    The scores are those of validation during training, by four times as many pixels: at most 16 images, spread over
    the folder. The blend's network is left on the CPU, with the last blend that was tried.

    Args:
        job: What to look at.
        blend: The adapters and their network.
        progress: Told which images are left out, and what was found.

    Raises:
        DataError: No image of the folder is left.
    """
    backbone = blend.backbone
    sets = _held_out(job, open_pairs(DataSpec.of(job.data), "val", progress, backbone.scale), progress)
    degradation = run_degradation(job.run, sets, None)
    reader = open_reader(sets, backbone.scale, degradation, 0, CacheSizes().open())
    validator = Validator(reader, backbone.scale, max_lr_px=_MAX_LR_PX)
    upscaler = Upscaler(backbone, device=job.device, precision="fp32", tile_px=0)

    with progress.task("tune", None, unit="blend") as task:

        def score(weights: Weights) -> float:
            blend.put(weights)
            found = validator.score(partial(upscale_batch, upscaler)).psnr_y_db
            task.advance()
            return found

        tuned = tune_weights(len(blend.updates), score)
    backbone.to(torch.device("cpu"))
    progress.note(
        f"tuned on {plural(len(validator), 'held-out image')} of {job.data}, of large ones on pieces; "
        f"{plural(tuned.tried, 'blend')} tried"
    )
    record = Tuning(
        data=str(job.data),
        fingerprint=fingerprint_of(sets),
        images=len(validator),
        psnr_y_db=tuned.score,
        plain_psnr_y_db=tuned.plain,
        tried=tuned.tried,
    )
    return tuned, record


def _held_out(job: TuningJob, sets: Sequence[PairSet], progress: Progress) -> tuple[PairSet, ...]:
    """The images that no adapter was trained on, as far as their run folders tell."""
    runs = dict.fromkeys([job.run.split, *(RunFolder(path.parent).split for path in job.adapters)])
    unknown = [path for path in job.adapters if not RunFolder(path.parent).split.exists()]
    if unknown:
        progress.note(
            f"what {unknown[0]} was trained on is not known, for there is no training/split.json beside it: if it was "
            "trained on these images, its scores may be optimistic"
        )
    kept = tuple(sets)
    for path in runs:
        if path.exists():
            split = read_document(path, SplitRecord)
            kept = tuple(keep_roles(pairs, split, ("validation", None)) for pairs in kept)
    left = sum(map(len, kept))
    dropped = sum(map(len, sets)) - left
    if not left:
        raise DataError(
            f"the adapters were trained on every image of {job.data}", "give `tune` a folder of other images"
        )
    if dropped:
        progress.note(
            f"{plural(dropped, 'image')} of {job.data} {agree(dropped, 'were')} trained on or kept for the test and "
            f"{agree(dropped, 'are')} left out; {left} {agree(left, 'remain')}"
        )
    return tuple(pairs for pairs in kept if len(pairs))
