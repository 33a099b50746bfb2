"""The choice of a sharpness without ground truth: by the run's held-out images, and lowered by the photographs at hand.

The second training measures PSNR-Y along the dial on images that neither training has seen. The choice begins where a
share of what the faithful adapter gains over the backbone is left, and is turned down on crops of the photographs as
long as one of two limits is passed. Flat areas, where a perceptual adapter invents texture first, may be as noisy as in
the faithful picture, as in the photograph, or by a grey level. Areas of a few LR pixels may differ from those of the
faithful picture by a grey level on average: more would be another colour or another light. A limit is passed where it
is exceeded by more than the standard error over the photographs.

Detail is not compared with the photograph: the camera does not take pictures as bicubic reduction makes them, and the
true picture, made as small, differs from its photograph by far more than a sharp output from a faithful one.
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
from adaptsr_cli.artifacts.dial import DialRecord
from adaptsr_cli.errors import AdaptsrError, DataError, UsageError
from adaptsr_cli.imaging.estimate_noise import flat_noise_levels
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.inference.picture import upscale_rgb
from adaptsr_cli.io.images import list_images, read_rgb
from adaptsr_cli.io.result_mark import leave_out_results
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.dial import Dial
from adaptsr_cli.stages.common.fields import AUTO
from adaptsr_cli.units import plural

KEPT_SHARE: Final = 0.25
"""Of the gain in PSNR-Y over the backbone, how much is left where the choice begins.

Not 0, since the held-out images chose the faithful adapter, and others gain a little less."""

STEPS: Final = 10
MOST_PHOTOGRAPHS: Final = 12
SIDE_LR_PX: Final = 96
LEAST_LR_PX: Final = 16

Measured = Mapping[str, float]
"""What was measured of one picture, or how large it may be, by what is wrong where it is larger."""

_NOISE: Final = "flat areas would be noisier than in the faithful pictures and in the photographs"
_LIGHT: Final = "areas would change their colour or light"
_AREA_LR_PX: Final = 4
_GREY_LEVEL: Final = 1.0


@dataclass(frozen=True)
class AutoSharpness:
    """The chosen setting.

    Attributes:
        sharpness: In [0, 1].
        reason: Why it is this one, for people.
    """

    sharpness: float
    reason: str

    def describe(self) -> str:
        """One line for people."""
        return f"sharpness {self.sharpness:g}: {self.reason}"


def settle_sharpness(
    wanted: float | str, dial: Dial, device: torch.device, progress: Progress, *, photographs: Sequence[Path] = ()
) -> float:
    """The sharpness that is meant: the number, or what held-out images and photographs say.

    Args:
        wanted: A number, ``auto`` or ``auto:FOLDER``.
        dial: The network; left on the CPU, at any setting.
        device: Where it runs.
        progress: Told what was chosen, and why.
        photographs: That may lower what ``auto`` chooses.

    Raises:
        UsageError: There is nothing to choose by.
        DataError: There are photographs, but none can be used.
    """
    if not isinstance(wanted, str):
        return wanted
    folder = wanted.partition(":")[2]
    files = leave_out_results(list_images(Path(folder))) if folder else list(photographs)
    if folder and not files:
        raise UsageError(f"`sharpness` {wanted}: there are no photographs in {folder}", "name a folder that has some")
    if not files and dial.record is None:
        raise UsageError(
            f"`sharpness` {AUTO} needs photographs, since this run was trained by an older version that did not "
            "measure its dial",
            "name a folder of them: auto:FOLDER",
        )
    begin = begin_by_held_out(dial.record)
    found = lower_by_photographs(dial, begin, open_crops(files, progress), device, progress) if files else begin
    progress.note(found.describe())
    return found.sharpness


def begin_by_held_out(record: DialRecord | None) -> AutoSharpness:
    """The setting that held-out images allow, rounded down to hundredths."""
    if record is None:
        return AutoSharpness(1.0, "the run was trained by an older version, which did not measure its dial")
    setting, on = record.curve.keeping(KEPT_SHARE), plural(record.curve.images, "held-out image")
    if setting is None:
        return AutoSharpness(0.0, f"on {on} the faithful adapter gains no PSNR-Y that could be given up")
    more = " more than" if setting == record.curve.points[-1].sharpness else ""
    gain_db = record.curve.points[0].metrics["psnr_y_db"] - record.curve.backbone["psnr_y_db"]
    kept = f"keeps{more} {KEPT_SHARE:.0%} of the {gain_db:+.2f} dB PSNR-Y that the faithful adapter gains on {on}"
    return AutoSharpness(math.floor(100 * setting) / 100, kept)


def open_crops(files: Sequence[Path], progress: Progress) -> list[Uint8Array]:
    """The centres of some photographs, evenly spread over all.

    Raises:
        DataError: None of them can be used.
    """
    crops, fault = [], ""
    for place in np.linspace(0, len(files) - 1, min(len(files), MOST_PHOTOGRAPHS)).round().astype(int):
        try:
            rgb = read_rgb(files[place])
        except (AdaptsrError, OSError) as error:
            fault = str(error)
            progress.note(f"{files[place]} is left out of the choice: {fault}")
            continue
        if min(rgb.shape[:2]) < LEAST_LR_PX:
            fault = f"it is smaller than {LEAST_LR_PX} px"
            progress.note(f"{files[place]} is left out of the choice: {fault}")
            continue
        top, left = (max(0, (length - SIDE_LR_PX) // 2) for length in rgb.shape[:2])
        crops.append(np.ascontiguousarray(rgb[top : top + SIDE_LR_PX, left : left + SIDE_LR_PX]))
    if not crops:
        raise DataError(
            f"`sharpness` {AUTO} can use none of {plural(len(files), 'photograph')}: {fault}", "give others"
        )
    return crops


def lower_by_photographs(
    dial: Dial, begin: AutoSharpness, crops: Sequence[Uint8Array], device: torch.device, progress: Progress
) -> AutoSharpness:
    """Turn the dial down until nothing seen speaks against it.

    Args:
        dial: The network; left on the CPU.
        begin: Where to begin.
        crops: (h, w, 3) of photographs.
        device: Where the network runs.
        progress: Told how far it is.
    """
    scale, by = dial.backbone.scale, plural(len(crops), "photograph")
    settings = [begin.sharpness, *(step / STEPS for step in range(STEPS, 0, -1) if step / STEPS < begin.sharpness)]
    obstacle = None
    with progress.task("sharpness", len(settings) + 1, unit="setting") as task:
        faithful = _upscale(dial, 0.0, crops, device)
        limits = [_limits(sr, crop) for sr, crop in zip(faithful, crops, strict=True)]
        for setting in settings:
            task.advance()
            pictures = _upscale(dial, setting, crops, device)
            worse = find_worse(limits, [_measure(*both, scale) for both in zip(pictures, faithful, strict=True)])
            if worse is None:
                break
            obstacle = worse
        else:
            setting = 0.0
    dial.backbone.to(torch.device("cpu"))
    if obstacle is None:
        return AutoSharpness(setting, f"{begin.reason}; {by} did not lower it")
    return AutoSharpness(setting, f"lowered from {begin.sharpness:g} by {by}: with more, {obstacle}")


def _upscale(dial: Dial, sharpness: float, crops: Sequence[Uint8Array], device: torch.device) -> list[Uint8Array]:
    """The crops at a setting."""
    dial.put(sharpness)
    upscaler = Upscaler(dial.backbone, device=device, precision="fp32", tile_px=0)
    return [upscale_rgb(upscaler, crop) for crop in crops]


def _measure(sr: Uint8Array, faithful: Uint8Array, scale: int) -> Measured:
    """Measure a picture beside the faithful one of the same photograph."""
    return {_NOISE: flat_noise_levels(sr, None), _LIGHT: _area_difference(sr, faithful, _AREA_LR_PX * scale)}


def _area_difference(first: Uint8Array, second: Uint8Array, side_px: int) -> float:
    """Root mean square of how far the mean colours of areas differ, in grey levels."""
    side_px = min(side_px, *first.shape[:2])
    rows, columns = (length // side_px for length in first.shape[:2])
    difference = first.astype(np.float64) - second
    areas = difference[: rows * side_px, : columns * side_px].reshape(rows, side_px, columns, side_px, 3)
    return float(np.sqrt(np.mean(areas.mean(axis=(1, 3)) ** 2)))


def _limits(faithful: Uint8Array, photograph: Uint8Array) -> Measured:
    """How large both may be."""
    return {
        _NOISE: max(flat_noise_levels(faithful, None), flat_noise_levels(photograph, None), _GREY_LEVEL),
        _LIGHT: _GREY_LEVEL,
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
