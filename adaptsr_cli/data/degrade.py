"""Making the LR side of photographs: blur, resampling, sensor noise and JPEG, with typed ranges.

The order of the steps follows Real-ESRGAN (Wang et al. 2021, Fig. 2) without its sinc filters.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from adaptsr_cli.artifacts import Frozen
from adaptsr_cli.errors import UsageError, nearest
from adaptsr_cli.io.images import Filter, decode_rgb, encode_jpeg, resize

Image = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[Any]]  # float32

Share = Annotated[float, Field(ge=0, le=1)]


class Span(Frozen):
    """A range from which a number is drawn uniformly; `low` equal to `high` is a fixed number."""

    low: Annotated[float, Field(ge=0)]
    high: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the range runs from {self.low} down to {self.high}")
        return self

    def draw(self, rng: np.random.Generator) -> float:
        """One number of the range."""
        return float(rng.uniform(self.low, self.high))


class Pass(Frozen):
    """One time through lens, sampling, sensor and file.

    Attributes:
        blur_lr_px: Standard deviation of the Gaussian blur along its longer axis, in pixels of the final LR image;
            so one camera is the same at every scale.
        roundness: Shorter over longer axis of the blur, in (0, 1].
        blur_share: How often there is blur at all.
        size: Size after this pass over the size of the final LR image; None for exactly that.
        filters: The resampling filters to draw from.
        noise_share: How often there is noise at all.
        shot_noise: Variance of a white pixel's photon noise, with values in [0, 1]; it falls with brightness.
        read_noise: Standard deviation of the noise that is everywhere, in grey levels of 255.
        grey_noise_share: How often the noise is the same in all three channels.
        jpeg_share: How often the pass ends in a JPEG file.
        jpeg_quality: Quality of that file.
    """

    blur_lr_px: Span = Span(low=0, high=0)
    roundness: Span = Span(low=1, high=1)
    blur_share: Share = 1.0
    size: Span | None = None
    filters: tuple[Filter, ...] = ("bicubic",)
    noise_share: Share = 1.0
    shot_noise: Span = Span(low=0, high=0)
    read_noise: Span = Span(low=0, high=0)
    grey_noise_share: Share = 0.0
    jpeg_share: Share = 0.0
    jpeg_quality: Span = Span(low=95, high=95)


class Degradation(Frozen):
    """How an LR image comes about: one pass or several, the last of which ends at the LR size."""

    name: str
    passes: Annotated[tuple[Pass, ...], Field(min_length=1)]


Preset = Literal["bicubic", "realesrgan", "phone", "demo"]

PRESETS: Final[dict[Preset, Degradation]] = {
    "bicubic": Degradation(name="bicubic", passes=(Pass(),)),
    "phone": Degradation(
        name="phone",
        passes=(
            Pass(
                blur_lr_px=Span(low=0.2, high=0.6),
                roundness=Span(low=0.6, high=1),
                filters=("area", "bilinear", "bicubic"),
                shot_noise=Span(low=0.0, high=0.0012),
                read_noise=Span(low=0.5, high=4),
                jpeg_share=1.0,
                jpeg_quality=Span(low=70, high=95),
            ),
        ),
    ),
    # One particular cheap camera: a soft lens, a little noise, ordinary JPEG. Narrow, so that it can be learnt.
    "demo": Degradation(
        name="demo",
        passes=(
            Pass(
                blur_lr_px=Span(low=0.42, high=0.46),
                roundness=Span(low=0.8, high=0.9),
                filters=("area",),
                shot_noise=Span(low=0.0002, high=0.0003),
                read_noise=Span(low=0.8, high=1.2),
                jpeg_share=1.0,
                jpeg_quality=Span(low=82, high=90),
            ),
        ),
    ),
    "realesrgan": Degradation(
        name="realesrgan",
        passes=(
            Pass(
                blur_lr_px=Span(low=0.05, high=0.75),
                roundness=Span(low=0.25, high=1),
                size=Span(low=0.6, high=6),
                filters=("area", "bilinear", "bicubic"),
                shot_noise=Span(low=0, high=0.004),
                read_noise=Span(low=0, high=15),
                grey_noise_share=0.4,
                jpeg_share=1.0,
                jpeg_quality=Span(low=30, high=95),
            ),
            Pass(
                blur_lr_px=Span(low=0.05, high=0.4),
                roundness=Span(low=0.25, high=1),
                blur_share=0.8,
                filters=("area", "bilinear", "bicubic"),
                shot_noise=Span(low=0, high=0.003),
                read_noise=Span(low=0, high=12),
                grey_noise_share=0.4,
                jpeg_share=1.0,
                jpeg_quality=Span(low=30, high=95),
            ),
        ),
    ),
}


def find_degradation(name: str) -> Degradation:
    """The preset of that name.

    Raises:
        UsageError: There is none.
    """
    for preset, degradation in PRESETS.items():
        if preset == name:
            return degradation
    hint = nearest(name, PRESETS) or f"use one of {', '.join(PRESETS)}"
    raise UsageError(f"--degrade {name!r} is no known degradation", hint)


def degrade(hr: Image, scale: int, degradation: Degradation, rng: np.random.Generator) -> Image:
    """Makes the LR side of a photograph.

    Args:
        hr: (H, W, 3) uint8, both sides a multiple of `scale`.
        scale: HR pixels per LR pixel.
        degradation: What happens to the picture.
        rng: Decides every random choice; the same state gives the same LR.

    Returns:
        (H/scale, W/scale, 3) uint8.
    """
    height, width = hr.shape[0] // scale, hr.shape[1] // scale
    image = hr.astype(np.float32) / 255
    for number, step in enumerate(degradation.passes):
        last = number == len(degradation.passes) - 1
        image = _take(image, step, (height, width), rng, last=last)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _take(image: Floats, step: Pass, lr_size: tuple[int, int], rng: np.random.Generator, *, last: bool) -> Floats:
    """One pass over (H, W, 3) float32 in [0, 1]."""
    pixels_per_lr_px = image.shape[0] / lr_size[0]
    sigma_px = step.blur_lr_px.draw(rng) * pixels_per_lr_px
    roundness, angle = step.roundness.draw(rng), float(rng.uniform(0, np.pi))
    if rng.random() < step.blur_share and sigma_px > 0:
        image = _blur(image, sigma_px, sigma_px * roundness, angle)
    size = step.size.draw(rng) if step.size and not last else 1.0
    height, width = (max(1, round(length * size)) for length in lr_size)
    method = step.filters[int(rng.integers(len(step.filters)))]
    image = resize(image, width, height, method)
    shot, read = step.shot_noise.draw(rng), step.read_noise.draw(rng) / 255
    grey = rng.random() < step.grey_noise_share
    if rng.random() < step.noise_share and (shot > 0 or read > 0):
        image = _add_noise(image, shot, read, grey, rng)
    quality = round(step.jpeg_quality.draw(rng))
    if rng.random() < step.jpeg_share:
        stored = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
        image = decode_rgb(encode_jpeg(stored, quality)).astype(np.float32) / 255
    return image


def _blur(image: Floats, long_px: float, short_px: float, angle: float) -> Floats:
    """Blurs (H, W, 3) by a Gaussian with the two standard deviations along axes turned by `angle` radians."""
    radius = max(1, int(np.ceil(3 * long_px)))
    steps = np.arange(-radius, radius + 1, dtype=np.float64)
    x, y = np.meshgrid(steps, steps)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((along / long_px) ** 2 + (across / max(short_px, 1e-3)) ** 2))
    kernel /= kernel.sum()
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    planes = torch.from_numpy(np.ascontiguousarray(padded.transpose(2, 0, 1))).unsqueeze(1)  # (3, 1, H, W)
    weight = torch.from_numpy(kernel.astype(np.float32))[None, None]  # (1, 1, k, k)
    blurred = torch.nn.functional.conv2d(planes, weight).squeeze(1).numpy()  # (3, H, W)
    return np.ascontiguousarray(blurred.transpose(1, 2, 0))


def _add_noise(image: Floats, shot: float, read: float, grey: bool, rng: np.random.Generator) -> Floats:
    """Adds noise whose variance is ``shot * brightness + read ** 2``, as a sensor's is."""
    channels = 1 if grey else image.shape[2]
    noise = rng.standard_normal((*image.shape[:2], channels), dtype=np.float32)
    brightness = np.clip(image.mean(axis=2, keepdims=True) if grey else image, 0, 1)
    return (image + np.sqrt(shot * brightness + read**2) * noise).astype(np.float32)
