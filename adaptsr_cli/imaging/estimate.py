"""Estimation of a camera's degradation from its photographs alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from adaptsr_cli.arrays import Uint8Array
from adaptsr_cli.artifacts.camera import CameraEstimate, Percentiles
from adaptsr_cli.artifacts.degradation import Degradation, Jpeg, LensBlur, SensorNoise, Span, Step, ToLr
from adaptsr_cli.errors import DataError
from adaptsr_cli.imaging.estimate_blur import blur_px
from adaptsr_cli.imaging.estimate_jpeg_quality import find_jpeg_quality, quality_of_table
from adaptsr_cli.imaging.estimate_noise import flat_noise_levels, is_grey, white_noise_levels
from adaptsr_cli.io.images import jpeg_table, read_rgb
from adaptsr_cli.progress import Progress

# Windows of a large photograph are enough, and keep the time of a 50-megapixel one near that of its decoding.
_WINDOW_PX: Final = 512
_WINDOWS: Final = 4
_SMALLEST_PX: Final = 64

# `degradation_of` widens the spread of an estimate by so much, for its own error and for photographs not seen.
_WIDEN: Final = 0.2
_WIDEN_QUALITY: Final = 5.0
# Where no photograph has an edge to measure: the range of the preset `phone`.
_UNKNOWN_BLUR: Final = Span(low=0.2, high=0.6)


@dataclass(frozen=True)
class PhotoEstimate:
    """What one photograph shows.

    Attributes:
        noise_levels: Standard deviation of the noise in grey levels, before the photograph was stored as JPEG.
        noise_is_bound: Whether texture may have added to that, since the photograph is grey or was stored as JPEG.
        jpeg_quality: 1 to 100; None where there is no trace of JPEG.
        blur_px: Standard deviation in pixels; None where there are too few edges.
    """

    noise_levels: float
    noise_is_bound: bool
    jpeg_quality: int | None
    blur_px: float | None


def estimate_photo(rgb: Uint8Array, rng: np.random.Generator, *, file_quality: int | None = None) -> PhotoEstimate:
    """Measure noise, JPEG quality and blur of one photograph, in windows where it is large.

    Args:
        rgb: (H, W, 3) uint8, each side 64 px or more.
        rng: Chooses the windows.
        file_quality: What the tables of its file say, where it is a JPEG; else traces are looked for.
    """
    windows = _cut_windows(rgb, rng)
    quality = find_jpeg_quality(windows[0]) if file_quality is None else file_quality
    bound = quality is not None or is_grey(rgb)
    if not bound:
        noise_levels = float(np.median([white_noise_levels(window) for window in windows]))
    else:
        # Texture can only add to what flat blocks show, so the window that shows least shows best.
        noise_levels = min(flat_noise_levels(window, quality) for window in windows)
    blurs = [found for window in windows if (found := blur_px(window, noise_levels)) is not None]
    return PhotoEstimate(noise_levels, bound, quality, float(np.median(blurs)) if blurs else None)


def estimate_camera(paths: Sequence[Path], progress: Progress, *, most: int = 64, seed: int = 0) -> CameraEstimate:
    """Estimate noise, JPEG quality and blur of a camera from its photographs.

    Args:
        paths: The photographs, as the camera wrote them: not reduced in size.
        progress: Gets a bar.
        most: How many are measured at most, drawn at random.
        seed: Chooses them, and the windows in them.

    Raises:
        DataError: No photograph is large enough.
        ImageError: A photograph cannot be read.
    """
    rng = np.random.default_rng(seed % (1 << 64))  # NumPy takes no negative seeds
    chosen = [paths[index] for index in np.sort(rng.permutation(len(paths))[:most])]
    found: list[PhotoEstimate] = []
    with progress.task("measuring the camera", len(chosen), unit="photo") as task:
        for path in chosen:
            rgb = read_rgb(path)
            if min(rgb.shape[:2]) >= _SMALLEST_PX:
                table = jpeg_table(path)
                quality = None if table is None else quality_of_table(table)
                found.append(estimate_photo(rgb, rng, file_quality=quality))
            task.advance()
    if not found:
        raise DataError(
            f"no photograph is as large as {_SMALLEST_PX} x {_SMALLEST_PX} px, so the camera cannot be estimated",
            "add larger photographs, or name a preset by `degrade`",
        )
    return summarise(found)


def degradation_of(estimate: CameraEstimate) -> Degradation:
    """The degradation that makes LR pictures look as the photographs do, pixel for pixel.

    Each range runs from the 10th to the 90th percentile of the photographs, 20 % further either way (JPEG quality: 5
    further). An LR picture inherits only 1/scale of the photograph's own blur and noise, which is left out of account.
    """
    blur = _UNKNOWN_BLUR if estimate.blur_px is None else _widen(estimate.blur_px)
    steps: list[Step] = [
        LensBlur(sigma_lr_px=blur, roundness=Span(low=0.8, high=1)),
        ToLr(filters=("area", "bicubic")),
        SensorNoise(read_levels=_widen(estimate.noise_levels)),
    ]
    if estimate.jpeg_quality is not None:
        low, high = estimate.jpeg_quality.low - _WIDEN_QUALITY, estimate.jpeg_quality.high + _WIDEN_QUALITY
        share = estimate.jpeg_photos / estimate.photos
        steps.append(Jpeg(quality=Span(low=max(1.0, low), high=min(100.0, high)), share=share))
    return Degradation(name="auto", steps=tuple(steps))


def _widen(spread: Percentiles) -> Span:
    return Span(low=spread.low * (1 - _WIDEN), high=spread.high * (1 + _WIDEN))


def summarise(found: Sequence[PhotoEstimate]) -> CameraEstimate:
    """Put the estimates of one or more photographs of a camera together."""
    noises = [photo.noise_levels for photo in found if not photo.noise_is_bound]
    if 2 * len(noises) < len(found):
        # Texture adds to the figures of most photographs, so those that show least tell most.
        noises = sorted(photo.noise_levels for photo in found)[: (len(found) + 1) // 2]
    qualities = [float(photo.jpeg_quality) for photo in found if photo.jpeg_quality is not None]
    blurs = [photo.blur_px for photo in found if photo.blur_px is not None]
    return CameraEstimate(
        photos=len(found),
        noise_levels=_spread(noises),
        jpeg_photos=len(qualities),
        jpeg_quality=_spread(qualities) if qualities else None,
        blur_px=_spread(blurs) if blurs else None,
    )


def _spread(values: Sequence[float]) -> Percentiles:
    # Rounded, so that the same photographs give the same file on every machine.
    low, median, high = (round(float(value), 3) for value in np.quantile(values, (0.1, 0.5, 0.9)))
    return Percentiles(low=low, median=median, high=high)


def _cut_windows(rgb: Uint8Array, rng: np.random.Generator) -> list[Uint8Array]:
    """The photograph itself, or some windows of it on the grid of JPEG blocks."""
    height, width = rgb.shape[:2]
    if height <= 2 * _WINDOW_PX and width <= 2 * _WINDOW_PX:
        return [rgb]
    windows = []
    for _ in range(_WINDOWS):
        top = int(rng.integers(max(0, height - _WINDOW_PX) // 16 + 1)) * 16
        left = int(rng.integers(max(0, width - _WINDOW_PX) // 16 + 1)) * 16
        windows.append(rgb[top : top + _WINDOW_PX, left : left + _WINDOW_PX])
    return windows
