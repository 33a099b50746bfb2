"""The noise that a camera leaves in its files: it grows with brightness; neighbours and channels share some of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field
from scipy import ndimage

from adaptsr_cli.artifacts.base import StrictModel
from adaptsr_cli.artifacts.transfer import MOST_CORRELATION_PX, CameraNoise
from adaptsr_cli.imaging.estimate_jpeg_quality import find_jpeg_quality
from adaptsr_cli.imaging.estimate_noise import flat_noise_levels, is_grey, white_noise_levels
from adaptsr_cli.imaging.luma import LUMA

Image = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64

NotNegative = Annotated[float, Field(ge=0)]

_BLOCK_PX: Final = 8
_LEVEL_BINS: Final = 8
_LEAST_BLOCKS: Final = 12
# The flattest blocks of each brightness show the noise; the others show the scene.
_FLATTEST: Final = 0.1
_DARKEST, _BRIGHTEST = 12, 243
# In grey levels: of a flatter block it cannot be said what its detail adds.
_LEAST_CONTRAST: Final = 2.0
# Of photographs without any detail.
_LEAST_MEAN_CONTRAST: Final = 0.1
# Correlation at one pixel's distance of white noise filtered by a Gaussian of sigma s: exp(-1 / (4 s^2)).

CONTRAST_SIDE_PX: Final = 5
"""Side of the square that the contrast about a pixel is taken over."""


def add_noise(noise: CameraNoise, image: Floats, rng: np.random.Generator) -> Floats:
    """Add noise.

    Args:
        noise: Of the camera.
        image: (H, W, 3) in grey levels, any range.
        rng: Draws the noise.

    Returns:
        (H, W, 3) float32, neither rounded nor clipped.
    """
    if noise.is_none:
        return image.astype(np.float32)
    contrast = contrast_of(image) if noise.texture_variance else 0.0
    noisy: Floats = image + noise.deviation(image, contrast).astype(np.float32) * noise_field(noise, image.shape, rng)
    return noisy.astype(np.float32)


def contrast_of(image: Floats) -> Floats:
    """Return the standard deviation of the pixels about each, channel by channel: (H, W, C) to the same."""
    side_px, picture = CONTRAST_SIDE_PX, image.astype(np.float64)
    mean, square = (
        ndimage.uniform_filter(part, (side_px, side_px, 0), mode="nearest") for part in (picture, picture**2)
    )
    contrast: Floats = np.sqrt(np.maximum(square - mean**2, 0))
    return contrast


def noise_field(noise: CameraNoise, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Noise of variance 1, with the correlations of the camera's: (H, W, C) float32."""
    field = rng.standard_normal(shape, dtype=np.float32)
    if noise.shared:
        common = rng.standard_normal((*shape[:2], 1), dtype=np.float32)
        field = np.sqrt(np.float32(1 - noise.shared)) * field + np.sqrt(np.float32(noise.shared)) * common
    if noise.correlation_px:
        field = ndimage.gaussian_filter(field, (noise.correlation_px, noise.correlation_px, 0), mode="wrap")
        field /= _kept_by_gaussian(noise.correlation_px)
    return field


def _kept_by_gaussian(sigma_px: float) -> float:
    """What a Gaussian filter leaves of the standard deviation of white noise."""
    impulse = np.zeros(2 * int(4 * sigma_px + 0.5) + 3)
    impulse[len(impulse) // 2] = 1
    return float(np.square(ndimage.gaussian_filter1d(impulse, sigma_px)).sum())


@dataclass(frozen=True)
class DetailNoise:
    """Noise that lies beside detail, not in flat places.

    Attributes:
        levels: Standard deviation over whole photographs, in grey levels.
        correlation_px: As of `CameraNoise`.
    """

    levels: float
    correlation_px: float

    def in_photographs(self, photographs: Sequence[Floats]) -> CameraNoise:
        """As noise that grows with the contrast of the place, over photographs of (H, W, C) in grey levels."""
        contrast = float(np.mean([contrast_of(photo).mean() for photo in photographs]))
        return CameraNoise(
            read_variance=0.0,
            texture_variance=self.levels**2 / max(contrast, _LEAST_MEAN_CONTRAST),
            correlation_px=min(self.correlation_px, MOST_CORRELATION_PX),
        )


class FileTrace(StrictModel):
    """What one photograph shows of noise and compression.

    Attributes:
        noise_levels: Standard deviation of its noise, before compression, in grey levels.
        is_bound: Whether texture may have added to that.
        jpeg_quality: 1 to 100; None where there is no trace of JPEG.
    """

    noise_levels: NotNegative
    is_bound: bool
    jpeg_quality: int | None


def trace_of(rgb: Image, *, file_quality: int | None = None, look_for_jpeg: bool = True) -> FileTrace:
    """Measure noise and JPEG quality of one photograph.

    Args:
        rgb: (H, W, 3) uint8.
        file_quality: What the tables of its file say, where it is a JPEG.
        look_for_jpeg: Whether traces of JPEG are looked for in the pixels where the file says nothing.
    """
    quality = find_jpeg_quality(rgb) if file_quality is None and look_for_jpeg else file_quality
    bound = quality is not None or is_grey(rgb)
    return FileTrace(
        noise_levels=flat_noise_levels(rgb, quality) if bound else white_noise_levels(rgb),
        is_bound=bound,
        jpeg_quality=quality,
    )


def typical_levels(traces: Sequence[FileTrace]) -> float:
    """One figure for the noise of several photographs: texture can only add to those that are bounds."""
    sure = [trace.noise_levels for trace in traces if not trace.is_bound]
    if 2 * len(sure) >= len(traces):
        return float(np.median(sure))
    return float(np.median(sorted(trace.noise_levels for trace in traces)[: (len(traces) + 1) // 2]))


def noise_of_photographs(photographs: Sequence[Image], levels: float) -> CameraNoise:
    """Split noise of a known mean over the brightness, from the flattest blocks of several photographs.

    Texture makes flat blocks look noisier, but about as much at each brightness, so the blocks give the *shape* of the
    curve, and `levels` its height.

    Args:
        photographs: (H, W, 3) uint8 each.
        levels: Standard deviation of the noise at mean brightness, in grey levels; see `typical_levels`.
    """
    means, variances, correlations = (
        np.concatenate(part) for part in zip(*map(_flat_blocks, photographs), strict=True)
    )
    if len(means) < _LEAST_BLOCKS:
        return CameraNoise(read_variance=levels**2)
    flat_means, flat_variances, flat_correlations = _flattest_of_each_level(means, variances, correlations)
    intercept, slope = _rising_line(flat_means, flat_variances)
    mean_level = float(means.mean())
    height = levels**2 / max(intercept + slope * mean_level, 1e-9)
    return CameraNoise(
        read_variance=intercept * height,
        shot_variance=slope * height,
        correlation_px=_correlation_px(float(np.median(flat_correlations))),
    )


def noise_of_residual(residual: Floats, predicted: Floats) -> CameraNoise:
    """The noise of LR photographs from what a noise-free prediction leaves over, in flat places and in detail.

    Args:
        residual: (H, W, 3) photograph less prediction, in grey levels.
        predicted: (H, W, 3) in grey levels.
    """
    height, width = (length // _BLOCK_PX * _BLOCK_PX for length in residual.shape[:2])
    shape = (height // _BLOCK_PX, _BLOCK_PX, width // _BLOCK_PX, _BLOCK_PX, 3)
    noise = residual[:height, :width].reshape(shape).transpose(0, 2, 1, 3, 4).reshape(-1, _BLOCK_PX, _BLOCK_PX, 3)
    scene = predicted[:height, :width].reshape(shape).transpose(0, 2, 1, 3, 4).reshape(-1, _BLOCK_PX, _BLOCK_PX, 3)
    contrast = contrast_of(predicted)[:height, :width].reshape(shape).mean(axis=(1, 3, 4)).ravel()
    level = scene.mean(axis=(1, 2, 3))
    noise = noise - noise.mean(axis=(1, 2), keepdims=True)
    variance = np.square(noise).mean(axis=(1, 2, 3))
    order = np.argsort(contrast)
    flat, detailed = order[: max(1, len(order) // 4)], order[len(order) // 2 :]
    intercept, slope = _rising_line(level[flat], variance[flat])
    more = variance[detailed] - intercept - slope * level[detailed]
    # Each block by itself, so that no few of hard contrast, or where something moved, decide alone.
    texture = max(0.0, float(np.mean(more / np.maximum(contrast[detailed], _LEAST_CONTRAST))))
    noise = noise / np.sqrt(np.maximum(variance, 1e-9))[:, None, None, None]
    beside = (noise[:, :, 1:] * noise[:, :, :-1]).mean() + (noise[:, 1:] * noise[:, :-1]).mean()
    channels = np.mean([(noise[..., i] * noise[..., j]).mean() for i, j in ((0, 1), (0, 2), (1, 2))])
    return CameraNoise(
        read_variance=intercept,
        shot_variance=slope,
        texture_variance=texture,
        correlation_px=_correlation_px(float(beside) / 2),
        shared=float(np.clip(channels, 0, 1)),
    )


def _flat_blocks(rgb: Image) -> tuple[Floats, Floats, Floats]:
    """Mean, variance about a plane, and neighbours' correlation of the blocks of green: (N,) each."""
    green = rgb[..., 1].astype(np.float64)
    views = np.lib.stride_tricks.sliding_window_view(green, (_BLOCK_PX, _BLOCK_PX))[::4, ::4]
    blocks = views.reshape(-1, _BLOCK_PX, _BLOCK_PX)
    means = blocks.mean(axis=(1, 2))
    blocks = blocks[(means > _DARKEST) & (means < _BRIGHTEST)]
    means = means[(means > _DARKEST) & (means < _BRIGHTEST)]
    slope = (np.arange(_BLOCK_PX) - (_BLOCK_PX - 1) / 2) / np.sqrt(_BLOCK_PX * (_BLOCK_PX**2 - 1) * _BLOCK_PX / 12)
    rest = blocks - means[:, None, None]
    rest = rest - (rest * slope).sum(axis=(1, 2), keepdims=True) * slope
    rest = rest - (rest * slope[:, None]).sum(axis=(1, 2), keepdims=True) * slope[:, None]
    variance = np.square(rest).sum(axis=(1, 2)) / (_BLOCK_PX**2 - 3)
    beside = ((rest[:, :, 1:] * rest[:, :, :-1]).mean(axis=(1, 2)) + (rest[:, 1:] * rest[:, :-1]).mean(axis=(1, 2))) / 2
    return means, variance, beside / np.maximum(variance, 1e-9)


def _flattest_of_each_level(means: Floats, variances: Floats, correlations: Floats) -> tuple[Floats, Floats, Floats]:
    edges = np.quantile(means, np.linspace(0, 1, _LEVEL_BINS + 1))
    kept = []
    for low, high in pairwise(edges):
        inside = np.nonzero((means >= low) & (means <= high))[0]
        kept.append(inside[np.argsort(variances[inside])][: max(1, round(_FLATTEST * len(inside)))])
    chosen = np.concatenate(kept)
    return means[chosen], variances[chosen], correlations[chosen]


def _rising_line(levels: Floats, variances: Floats) -> tuple[float, float]:
    """Intercept and slope, neither below 0, of the variance over the level; each block counts by its own scatter."""
    # The scatter of a variance grows with it. A drawing has none at all.
    weight = 1 / np.maximum(max(float(np.median(variances)), 1e-9), variances)
    design = np.stack([weight, weight * levels], axis=1)
    slope, mean = 0.0, float(np.average(variances, weights=weight))
    if np.ptp(levels) > 1:
        intercept, slope = (float(value) for value in np.linalg.lstsq(design, weight * variances, rcond=None)[0])
        if intercept >= 0 and slope >= 0:
            return intercept, slope
        if slope > 0:
            centre = float(np.average(levels, weights=weight))
            return 0.0, mean / max(centre, 1e-9)
    return mean, 0.0


def _correlation_px(correlation: float) -> float:
    """The Gaussian whose filtered white noise has this correlation between neighbours; below 0.1 it may be chance."""
    if correlation < 0.1:
        return 0.0
    return float(min(MOST_CORRELATION_PX, 0.5 / np.sqrt(-np.log(min(correlation, 0.95)))))


def brightness_of(rgb: Floats) -> Floats:
    """(H, W, 3) to (H, W) float32 in grey levels."""
    grey: Floats = rgb.astype(np.float32) @ LUMA
    return grey
