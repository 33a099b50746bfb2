"""The choice of a sharpness by photographs alone: turned up until something gets worse that shows without truth.

Three things are measured on crops of the photographs, each against the faithful picture of the same photograph:
noise in flat areas, where a perceptual adapter invents texture first; how far the picture is from natural photographs
(NIQE); and how far it departs from the photograph itself when it is made as small again. A setting fails where one of
them has risen by more than its standard error over the photographs. What lies before the first that fails is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from adaptsr_cli.arrays import Uint8Array
from adaptsr_cli.backbones.catalogue import weights_dir
from adaptsr_cli.errors import AdaptsrError, DataError, UsageError
from adaptsr_cli.imaging.estimate_noise import flat_noise_levels
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import to_depth, upscale_rgb
from adaptsr_cli.io.images import list_images, read_rgb, resize
from adaptsr_cli.metrics.niqe import BLOCK_PX, Niqe
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.dial import Dial
from adaptsr_cli.stages.common.fields import AUTO
from adaptsr_cli.units import plural

STEPS: Final = 10
MOST_PHOTOGRAPHS: Final = 12
SIDE_LR_PX: Final = 96

Measured = Mapping[str, float | None]
"""What was measured of one picture, by what it is called for people; the larger, the worse. None where a picture cannot
tell."""


@dataclass(frozen=True)
class AutoSharpness:
    """What the photographs say.

    Attributes:
        sharpness: The setting.
        photographs: How many were looked at.
        obstacle: What got worse at the next setting; None where nothing did up to 1.
    """

    sharpness: float
    photographs: int
    obstacle: str | None

    def describe(self) -> str:
        """One line for people."""
        by = f"sharpness {self.sharpness:g}, chosen by {plural(self.photographs, 'photograph')}"
        if self.obstacle is None:
            return f"{by}: nothing gets worse up to there"
        return f"{by}: beyond it {self.obstacle} than in the faithful pictures"


def settle_sharpness(
    wanted: float | str, dial: Dial, device: torch.device, progress: Progress, photographs: Sequence[Path] = ()
) -> float:
    """The sharpness that is meant: the number, or what photographs say.

    Args:
        wanted: A number, ``auto`` or ``auto:FOLDER``.
        dial: The network; left on the CPU, at any setting.
        device: Where it runs.
        progress: Told what was chosen, and why.
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
    found = choose_sharpness(dial, open_crops(files, progress), device, progress)
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
    dial: Dial, crops: Sequence[Uint8Array], device: torch.device, progress: Progress
) -> AutoSharpness:
    """Turn the dial up until something gets worse.

    Args:
        dial: The network; left on the CPU.
        crops: (h, w, 3) of photographs.
        device: Where the network runs.
        progress: Told how far it is.

    Raises:
        DataError: The crops are too small to tell anything.
    """
    scale = dial.backbone.scale
    if all((crop.shape[0] * scale // BLOCK_PX) * (crop.shape[1] * scale // BLOCK_PX) < 2 for crop in crops):
        least_px = -(-2 * BLOCK_PX // scale)
        raise DataError(f"`sharpness` {AUTO} needs photographs of at least {least_px} px each way", "give larger ones")
    niqe = Niqe(weights_dir=weights_dir(None))
    faithful: list[Measured] = []
    settled, obstacle = 0.0, None
    with progress.task("sharpness", STEPS + 1, unit="setting") as task:
        for step in range(STEPS + 1):
            dial.put(step / STEPS)
            upscaler = Upscaler(dial.backbone, device=device, precision="fp32", tile_px=0)
            measured = [_measure(upscale_rgb(upscaler, crop), crop, niqe) for crop in crops]
            task.advance()
            faithful = faithful or measured
            obstacle = find_worse(faithful, measured)
            if obstacle is not None:
                break
            settled = step / STEPS
    dial.backbone.to(torch.device("cpu"))
    return AutoSharpness(settled, len(crops), obstacle)


def _measure(sr: Uint8Array, lr: Uint8Array, niqe: Niqe) -> Measured:
    height, width = lr.shape[:2]
    departure = resize(sr, width, height, "bicubic").astype(np.float64) - lr
    large = (sr.shape[0] // BLOCK_PX) * (sr.shape[1] // BLOCK_PX) >= 2
    return {
        "flat areas are noisier": flat_noise_levels(sr, None),
        "pictures are less natural (NIQE)": niqe(sr) if large else None,
        "pictures that are made as small again are farther from the photographs": float(np.sqrt(np.mean(departure**2))),
    }


def find_worse(before: Sequence[Measured], after: Sequence[Measured]) -> str | None:
    """What has risen by more than the standard error of its mean rise over the pictures; None where nothing has.

    Args:
        before: Of each picture.
        after: Of the same pictures.
    """
    for name in before[0]:
        pairs = [(old[name], new[name]) for old, new in zip(before, after, strict=True)]
        rises = np.array([new - old for old, new in pairs if old is not None and new is not None])
        error = rises.std(ddof=1) / math.sqrt(len(rises)) if len(rises) > 1 else 0.0
        if len(rises) and rises.mean() > error:
            return name
    return None
