"""The guard of a training without pairs: its strength, tried on sharp photographs, and what the user is told of it."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np
import torch

from adaptsr_cli.arrays import Uint8Array
from adaptsr_cli.artifacts.camera import CameraEstimate
from adaptsr_cli.artifacts.degradation import Degradation, DegradationRecord
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.artifacts.transfer import TransferEstimate
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.imaging.degrade import degrade
from adaptsr_cli.imaging.guard import STRENGTHS, choose_strength, plausible_cameras
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import upscale_rgb
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.io.hashing import file_sha256
from adaptsr_cli.metrics.protocol import PAPER, score_images
from adaptsr_cli.progress import SILENT, Progress
from adaptsr_cli.stages.common.adapter_file import open_adapter, read_guard
from adaptsr_cli.stages.common.blend import open_blend
from adaptsr_cli.stages.common.models import ModelSpec, open_backbone
from adaptsr_cli.stages.common.open_run import OpenRun
from adaptsr_cli.stages.common.splitting import PairSets
from adaptsr_cli.stages.common.training_data import open_reader

Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64

_MOST_PHOTOGRAPHS: Final = 6
_SIDE_LR_PX: Final = 48


def guard_training(opened: OpenRun, device: torch.device, progress: Progress) -> GuardRecord | None:
    """Choose the strength of the run's adapter, where no real pair was watched that could tell.

    What was found for this adapter before is kept.

    Args:
        opened: The run, trained.
        device: Where the network runs.
        progress: Told what was found.

    Returns:
        None where real pairs were watched, or where the user named how LR is made.
    """
    run, data = opened.run, opened.data
    record = read_document(run.degradation, DegradationRecord) if run.degradation.exists() else None
    photographs = tuple(pairs for pairs in data.held_out if pairs.ratio is None)
    if record is None or not isinstance(record.estimate, TransferEstimate | CameraEstimate):
        return None
    if len(photographs) < len(data.held_out):
        return None
    adapter_sha256 = file_sha256(run.adapter)
    found = read_guard(run, adapter_sha256)
    if found is None:
        found = _try_strengths(opened, photographs, record, adapter_sha256, device, progress)
        write_document(run.guard, found)
    _tell(found, record.estimate, progress)
    return found


def _try_strengths(
    opened: OpenRun,
    photographs: PairSets,
    record: DegradationRecord,
    adapter_sha256: str,
    device: torch.device,
    progress: Progress,
) -> GuardRecord:
    cameras = plausible_cameras(record)
    crops = _crops(open_reader(photographs, opened.backbone.scale, record.degradation, 0, opened.data.cache))
    choice = choose_strength(STRENGTHS, _gains(opened, crops, cameras, device, progress))
    return GuardRecord(
        adapter_sha256=adapter_sha256,
        cameras=len(cameras),
        photographs=len(crops),
        strengths=STRENGTHS,
        low_db=tuple(map(float, choice.low_db)),
        median_db=tuple(map(float, choice.median_db)),
        strength=choice.strength,
    )


def _crops(reader: Mixture) -> list[Uint8Array]:
    """The centres of some photographs, on the HR grid."""
    places = np.linspace(0, len(reader) - 1, min(len(reader), _MOST_PHOTOGRAPHS)).round().astype(int)
    found = []
    for place in places:
        source, index = reader.locate(int(place))
        hr = source.read_hr(index)
        height, width = (length // reader.scale for length in hr.shape[:2])
        top, left = (max(0, (length - _SIDE_LR_PX) // 2) * reader.scale for length in (height, width))
        side_px = _SIDE_LR_PX * reader.scale
        found.append(np.ascontiguousarray(hr[top : top + side_px, left : left + side_px]))
    return found


def _gains(
    opened: OpenRun, crops: list[Uint8Array], cameras: tuple[Degradation, ...], device: torch.device, progress: Progress
) -> Floats:
    """(strengths, cameras) mean gain in PSNR-Y over the backbone, the same pictures and noise for all strengths."""
    scale = opened.backbone.scale
    taken = [
        [degrade(hr, scale, camera, np.random.default_rng((number, place))) for place, hr in enumerate(crops)]
        for number, camera in enumerate(cameras)
    ]
    # The run's own network holds the adapter of the last step, which need not be the best one.
    backbone = open_backbone(opened.run, ModelSpec.of(None, None, offline=True), SILENT, record=False)
    blend = open_blend(backbone, [open_adapter(opened.run.adapter)])
    upscale = partial(upscale_rgb, Upscaler(backbone, device=device, tile_px=0))
    scores = []
    with progress.task("guard", len(STRENGTHS) * len(cameras), unit="camera") as task:
        for strength in STRENGTHS:
            blend.put((strength,))
            row = []
            for pictures in taken:
                row.append(np.mean([_psnr(upscale(lr), hr, scale) for lr, hr in zip(pictures, crops, strict=True)]))
                task.advance()
            scores.append(row)
    gains: Floats = np.array(scores) - scores[0]
    return gains


def _psnr(sr: Uint8Array, hr: Uint8Array, scale: int) -> float:
    return score_images(sr, hr, protocol=PAPER, scale=scale, metrics=("psnr",))["psnr_y_db"]


def _tell(found: GuardRecord, estimate: TransferEstimate | CameraEstimate, progress: Progress) -> None:
    """Say what the guard chose, that it is not certain, and what would help where the backbone is kept."""
    if not found.keeps_backbone:
        progress.note(f"{found.describe()}. What it gains on the camera itself is uncertain")
        return
    more = (
        "more photos of the camera (20 or more, of varied scenes with fine detail)"
        if isinstance(estimate, TransferEstimate)
        else "photos of the camera that takes the LR side (`degrade` auto:FOLDER)"
    )
    progress.warn(f"{found.describe()}. What would help: {more}, or a few real pairs (`adaptsr pair`)")
