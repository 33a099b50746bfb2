"""The choice of a sharpness by photographs alone: the most natural setting of those that nothing seen speaks against.

The dial is turned up on crops of the photographs as long as two limits hold. Flat areas, where a perceptual adapter
invents texture first, may be as noisy as in the faithful picture, as in the photograph, or by a grey level. Made as
small as the photograph again, the picture may differ from the faithful one by the noise of the photograph or by a grey
level: more would contradict what was seen. A limit is passed where it is exceeded by more than the standard error over
the photographs. Of the settings before that, the one is taken whose pictures are most like natural photographs (NIQE).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from adaptsr_cli.arrays import Float64Array, Uint8Array
from adaptsr_cli.backbones.catalogue import weights_dir
from adaptsr_cli.errors import AdaptsrError, DataError, UsageError
from adaptsr_cli.imaging.estimate_noise import flat_noise_levels
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import to_depth, upscale_rgb
from adaptsr_cli.io.images import list_images, read_rgb, resize
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.dial import Dial
from adaptsr_cli.stages.common.fields import AUTO
from adaptsr_cli.units import plural

if TYPE_CHECKING:
    from adaptsr_cli.metrics.niqe import Niqe

STEPS: Final = 10
MOST_PHOTOGRAPHS: Final = 12
SIDE_LR_PX: Final = 96

Measured = Mapping[str, float]
"""What was measured of one picture, or how large it may be, by what is wrong where it is larger."""

_NOISE: Final = "flat areas would be noisier than in the faithful pictures and in the photographs"
_DEPARTURE: Final = "the pictures, made as small again, would contradict the photographs"
_GREY_LEVEL: Final = 1.0


@dataclass(frozen=True)
class AutoSharpness:
    """What the photographs say.

    Attributes:
        sharpness: The setting.
        photographs: How many were looked at.
        tried: The largest setting within the limits.
        obstacle: What would be wrong beyond that; None where nothing is up to 1.
    """

    sharpness: float
    photographs: int
    tried: float
    obstacle: str | None

    def describe(self) -> str:
        """One line for people."""
        beyond = f"; beyond {self.tried:g} {self.obstacle}" if self.obstacle is not None else ""
        by = f"chosen by {plural(self.photographs, 'photograph')}"
        return (
            f"sharpness {self.sharpness:g}, {by}: of the settings from 0 to {self.tried:g} its pictures are the most "
            f"natural (NIQE){beyond}"
        )


def settle_sharpness(
    wanted: float | str,
    dial: Dial,
    device: torch.device,
    progress: Progress,
    *,
    weights: Path | None = None,
    photographs: Sequence[Path] = (),
) -> float:
    """The sharpness that is meant: the number, or what photographs say.

    Args:
        wanted: A number, ``auto`` or ``auto:FOLDER``.
        dial: The network; left on the CPU, at any setting.
        device: Where it runs.
        progress: Told what was chosen, and why.
        weights: Folder in which the authors' statistics of NIQE may lie; None for the usual one.
        photographs: By which ``auto`` chooses.

    Raises:
        UsageError: There is nothing to choose by.
        DataError: No photograph can be used.
    """
    if not isinstance(wanted, str):
        return wanted
    folder = wanted.partition(":")[2]
    files = list_images(Path(folder)) if folder else list(photographs)
    if not files:
        where = f"{folder} has none" if folder else "there are none at hand"
        raise UsageError(f"`sharpness` {AUTO} needs photographs, and {where}", "name a folder of them: auto:FOLDER")
    found = choose_sharpness(dial, open_crops(files, progress), device, progress, weights=weights)
    progress.note(found.describe())
    return found.sharpness


def open_crops(files: Sequence[Path], progress: Progress) -> list[Uint8Array]:
    """The centres of some photographs, evenly spread over all.

    Raises:
        DataError: None of them can be used.
    """
    crops, fault = [], ""
    for place in np.linspace(0, len(files) - 1, min(len(files), MOST_PHOTOGRAPHS)).round().astype(int):
        try:
            rgb = to_depth(read_rgb(files[place]), np.uint8)
        except (AdaptsrError, OSError) as error:
            fault = str(error)
            progress.note(f"{files[place]} is left out of the choice: {fault}")
            continue
        top, left = (max(0, (length - SIDE_LR_PX) // 2) for length in rgb.shape[:2])
        crops.append(np.ascontiguousarray(rgb[top : top + SIDE_LR_PX, left : left + SIDE_LR_PX]))
    if not crops:
        raise DataError(
            f"`sharpness` {AUTO} can use none of {plural(len(files), 'photograph')}: {fault}", "give others"
        )
    return crops


def choose_sharpness(
    dial: Dial, crops: Sequence[Uint8Array], device: torch.device, progress: Progress, *, weights: Path | None = None
) -> AutoSharpness:
    """Turn the dial up until something gets worse.

    Args:
        dial: The network; left on the CPU.
        crops: (h, w, 3) of photographs.
        device: Where the network runs.
        progress: Told how far it is.
        weights: As for `settle_sharpness`.

    Raises:
        DataError: The crops are too small to tell anything.
    """
    from adaptsr_cli.metrics.niqe import BLOCK_PX, Niqe  # scikit-image takes a quarter of a second, for this alone

    scale = dial.backbone.scale
    if all(_blocks([scale * side for side in crop.shape], BLOCK_PX) < 2 for crop in crops):
        least_px = -(-2 * BLOCK_PX // scale)
        raise DataError(f"`sharpness` {AUTO} needs photographs of at least {least_px} px each way", "give larger ones")
    niqe, noise = Niqe(weights_dir=weights_dir(weights)), [flat_noise_levels(crop, None) for crop in crops]
    faithful: list[Uint8Array] = []
    limits: list[Measured] = []
    natural: list[float] = []
    obstacle = None
    with progress.task("sharpness", STEPS + 1, unit="setting") as task:
        for step in range(STEPS + 1):
            dial.put(step / STEPS)
            upscaler = Upscaler(dial.backbone, device=device, precision="fp32", tile_px=0)
            pictures = [upscale_rgb(upscaler, crop) for crop in crops]
            faithful = faithful or pictures
            measured = [_measure(sr, before, scale) for sr, before in zip(pictures, faithful, strict=True)]
            limits = limits or [_limits(found, levels) for found, levels in zip(measured, noise, strict=True)]
            task.advance()
            obstacle = find_worse(limits, measured)
            if obstacle is not None:
                break
            natural.append(_mean_niqe(niqe, [sr for sr in pictures if _blocks(sr.shape, BLOCK_PX) >= 2]))
    dial.backbone.to(torch.device("cpu"))
    return AutoSharpness(int(np.argmin(natural)) / STEPS, len(crops), (len(natural) - 1) / STEPS, obstacle)


def _blocks(shape: Sequence[int], side_px: int) -> int:
    """How many blocks of NIQE lie in a picture (H, W, ...)."""
    return (shape[0] // side_px) * (shape[1] // side_px)


def _mean_niqe(niqe: Niqe, pictures: Sequence[Uint8Array]) -> float:
    """Over the pictures that have something in them; 0 where none has."""
    found = [score for sr in pictures if (score := niqe(sr)) is not None]
    return float(np.mean(found)) if found else 0.0


def _measure(sr: Uint8Array, faithful: Uint8Array, scale: int) -> Measured:
    """Measure a picture beside the faithful one of the same photograph."""
    departure = _reduce(sr, scale) - _reduce(faithful, scale)
    return {_NOISE: flat_noise_levels(sr, None), _DEPARTURE: float(np.sqrt(np.mean(departure**2)))}


def _reduce(sr: Uint8Array, scale: int) -> Float64Array:
    """A picture made as small as its photograph."""
    height, width = (length // scale for length in sr.shape[:2])
    return resize(sr, width, height, "bicubic").astype(np.float64)


def _limits(faithful: Measured, noise_levels: float) -> Measured:
    """How large both may be, by the noise of the faithful picture and of the photograph."""
    return {
        _NOISE: max(faithful[_NOISE], noise_levels, _GREY_LEVEL),
        _DEPARTURE: max(noise_levels, _GREY_LEVEL),
    }


def find_worse(limits: Sequence[Measured], measured: Sequence[Measured]) -> str | None:
    """What exceeds its limits by more than the standard error of the mean excess; None where nothing does.

    Args:
        limits: Of each picture.
        measured: Of the same pictures.
    """
    for name in limits[0]:
        excess = np.array([found[name] - limit[name] for limit, found in zip(limits, measured, strict=True)])
        error = excess.std(ddof=1) / math.sqrt(len(excess)) if len(excess) > 1 else 0.0
        if excess.mean() > error:
            return name
    return None
