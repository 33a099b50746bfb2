"""The guard of a training that no real pair of another scene was watched for: its strength, and what the user is told.

Without pairs the adapter is tried on sharp photographs as plausible cameras would take them. Where all pairs are parts
of one shot, or of a few that are all trained on, the held-out ones cannot tell what the adapter learnt of these scenes
alone. With the colour channels of both sides exchanged they are a little like other scenes by the same camera.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from operator import attrgetter
from typing import Any, Final

import numpy as np
import torch

from adaptsr_cli.arrays import Uint8Array
from adaptsr_cli.artifacts.camera import CameraEstimate
from adaptsr_cli.artifacts.degradation import DegradationRecord
from adaptsr_cli.artifacts.guard import GuardRecord, Varied
from adaptsr_cli.artifacts.transfer import TransferEstimate
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.data.pairs import PairReader
from adaptsr_cli.imaging.degrade import degrade
from adaptsr_cli.imaging.flatness import is_flat
from adaptsr_cli.imaging.guard import STRENGTHS, UP_TO_HALF, choose_by_gains, choose_strength, plausible_cameras
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
from adaptsr_cli.stages.common.training_data import open_reader

Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64

Views = list[tuple[Uint8Array, Uint8Array]]  # lr (h, w, 3), hr (scale h, scale w, 3)

_MOST_IMAGES: Final = 6
_SIDE_LR_PX: Final = 48


@dataclass(frozen=True)
class _Trial:
    """What an adapter is tried on.

    Attributes:
        varied: What differs between the versions.
        strengths: To try.
        versions: Makes the images of each version.
        advice: What would help where the adapter gains nothing.
    """

    varied: Varied
    strengths: tuple[float, ...]
    versions: Callable[[], list[Views]]
    advice: str


def guard_training(opened: OpenRun, device: torch.device, progress: Progress) -> GuardRecord | None:
    """Choose the strength of the run's adapter, where no real pair of another scene was watched that could tell.

    What was found for this adapter before is kept.

    Args:
        opened: The run, trained.
        device: Where the network runs.
        progress: Told what was found.

    Returns:
        None where such pairs were watched, or where there are none and the user named how LR is made.
    """
    run, adapter_sha256 = opened.run, file_sha256(opened.run.adapter)
    trial = _choose_trial(opened)
    if trial is None:
        return None
    found = read_guard(run, adapter_sha256)
    if found is None:
        versions = trial.versions()
        choice = choose_strength(trial.strengths, _gains(opened, versions, trial.strengths, device, progress))
        found = GuardRecord(
            adapter_sha256=adapter_sha256,
            varied=trial.varied,
            versions=len(versions),
            images=len(versions[0]),
            strengths=trial.strengths,
            low_db=tuple(map(float, choice.low_db)),
            median_db=tuple(map(float, choice.median_db)),
            strength=choice.strength,
        )
        write_document(run.guard, found)
    _tell(found, trial, progress)
    return found


def guard_by_folds(opened: OpenRun, guards: Sequence[GuardRecord], progress: Progress) -> GuardRecord:
    """The strength of a final adapter by the guards of the folds, each of which tried an adapter on images new to it.

    Args:
        opened: The run, trained on all images.
        guards: At least one.
        progress: Told what was found.
    """
    strengths = tuple(strength for strength in guards[0].strengths if all(strength in g.strengths for g in guards))
    low_db, median_db = (
        np.mean([[gains(guard)[guard.strengths.index(s)] for s in strengths] for guard in guards], axis=0)
        for gains in (attrgetter("low_db"), attrgetter("median_db"))
    )
    found = GuardRecord(
        adapter_sha256=file_sha256(opened.run.adapter),
        varied=guards[0].varied,
        versions=guards[0].versions,
        images=sum(guard.images for guard in guards),
        strengths=strengths,
        low_db=tuple(map(float, low_db)),
        median_db=tuple(map(float, median_db)),
        strength=choose_by_gains(strengths, low_db, median_db).strength,
    )
    write_document(opened.run.guard, found)
    _tell(found, _choose_trial(opened), progress)
    return found


def _tell(found: GuardRecord, trial: _Trial | None, progress: Progress) -> None:
    if not found.keeps_backbone:
        progress.note(found.describe())
    else:
        progress.warn(found.describe() + ("" if trial is None else f". What would help: {trial.advice}"))


def _choose_trial(opened: OpenRun) -> _Trial | None:
    run, data = opened.run, opened.data
    if data.shows_known_scenes:
        advice = "pairs of other scenes (`adaptsr pair`), or photographs beside these (`degrade` pairs)"
        return _Trial("colours", UP_TO_HALF, partial(_exchange_colours, opened), advice)
    if any(pairs.ratio is not None for pairs in data.held_out):
        return None
    record = read_document(run.degradation, DegradationRecord) if run.degradation.exists() else None
    if record is None or not isinstance(record.estimate, TransferEstimate | CameraEstimate):
        return None
    strengths, more = STRENGTHS, "photos of the camera that takes the LR side (`degrade` auto:FOLDER)"
    if record.camera is not None:  # they could not be compared with the sharp ones
        more = "more and larger sharp photos by `data`, to compare the camera's with"
    if isinstance(record.estimate, TransferEstimate):
        strengths = STRENGTHS if record.estimate.explains_photographs else UP_TO_HALF
        more = "more photos of the camera (20 or more, of varied scenes with fine detail)"
    return _Trial("cameras", strengths, partial(_take, opened, record), f"{more}, or a few real pairs (`adaptsr pair`)")


def _exchange_colours(opened: OpenRun) -> list[Views]:
    """The held-out pairs with their colour channels in every order."""
    reader = open_reader(opened.data.held_out, opened.backbone.scale, None, 0, opened.data.cache)
    views = []
    for source, index in _some(reader):
        lr, hr = source.read(index)
        views.append((_centre(lr, _SIDE_LR_PX, 1), _centre(hr, _SIDE_LR_PX, reader.scale)))
    views = [(lr, hr) for lr, hr in views if not is_flat([hr])] or views
    return [
        [(np.ascontiguousarray(lr[..., order]), np.ascontiguousarray(hr[..., order])) for lr, hr in views]
        for order in map(list, permutations(range(3)))
    ]


def _take(opened: OpenRun, record: DegradationRecord) -> list[Views]:
    """The held-out photographs as each plausible camera takes them."""
    scale = opened.backbone.scale
    reader = open_reader(opened.data.held_out, scale, record.degradation, 0, opened.data.cache)
    crops = [_centre(source.read_hr(index), _SIDE_LR_PX, scale) for source, index in _some(reader)]
    crops = [hr for hr in crops if not is_flat([hr])] or crops
    return [
        [(degrade(hr, scale, camera, np.random.default_rng((number, place))), hr) for place, hr in enumerate(crops)]
        for number, camera in enumerate(plausible_cameras(record))
    ]


def _some(reader: Mixture) -> list[tuple[PairReader, int]]:
    """A few images, evenly over all."""
    places = np.linspace(0, len(reader) - 1, min(len(reader), _MOST_IMAGES)).round().astype(int)
    return [reader.locate(int(place)) for place in places]


def _centre(image: Uint8Array, side_lr_px: int, scale: int) -> Uint8Array:
    """The centre, on the LR grid."""
    height, width = (length // scale for length in image.shape[:2])
    top, left = (max(0, (length - side_lr_px) // 2) * scale for length in (height, width))
    side_px = side_lr_px * scale
    return np.ascontiguousarray(image[top : top + side_px, left : left + side_px])


def _gains(
    opened: OpenRun, versions: list[Views], strengths: tuple[float, ...], device: torch.device, progress: Progress
) -> Floats:
    """(strengths, versions) mean gain in PSNR-Y over the backbone, the same pictures for all strengths."""
    # The run's own network holds the adapter of the last step, which need not be the best one.
    backbone = open_backbone(opened.run, ModelSpec.of(None, None, offline=True), SILENT, record=False)
    blend = open_blend(backbone, [open_adapter(opened.run.adapter)])
    upscale = partial(upscale_rgb, Upscaler(backbone, device=device, tile_px=0))
    scores = []
    with progress.task("guard", len(strengths) * len(versions), unit="version") as task:
        for strength in strengths:
            blend.put((strength,))
            row = []
            for views in versions:
                row.append(np.mean([_psnr(upscale(lr), hr, backbone.scale) for lr, hr in views]))
                task.advance()
            scores.append(row)
    gains: Floats = np.array(scores) - scores[0]
    return gains


def _psnr(sr: Uint8Array, hr: Uint8Array, scale: int) -> float:
    return score_images(sr, hr, protocol=PAPER, scale=scale, metrics=("psnr",))["psnr_y_db"]
