"""Presets of degradations by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from adaptsr_cli.artifacts.degradation import (
    ALL_FILTERS,
    Degradation,
    FinalSinc,
    Jpeg,
    KernelBlur,
    LensBlur,
    RandomNoise,
    RandomResize,
    SensorNoise,
    Span,
    ToLr,
)
from adaptsr_cli.errors import UsageError, nearest

Preset = Literal["bicubic", "realesrgan", "phone", "demo"]

DEGRADATIONS: Final[dict[Preset, Degradation]] = {
    "bicubic": Degradation(name="bicubic", steps=(ToLr(),)),
    "phone": Degradation(
        name="phone",
        steps=(
            LensBlur(sigma_lr_px=Span(low=0.2, high=0.6), roundness=Span(low=0.6, high=1)),
            ToLr(filters=ALL_FILTERS),
            SensorNoise(shot=Span(low=0, high=0.0012), read_levels=Span(low=0.5, high=4)),
            Jpeg(quality=Span(low=70, high=95)),
        ),
    ),
    # One particular cheap camera: a soft lens, a little noise, ordinary JPEG. Narrow, so that it can be learnt.
    "demo": Degradation(
        name="demo",
        steps=(
            LensBlur(sigma_lr_px=Span(low=0.42, high=0.46), roundness=Span(low=0.8, high=0.9)),
            ToLr(filters=("area",)),
            SensorNoise(shot=Span(low=0.0002, high=0.0003), read_levels=Span(low=0.8, high=1.2)),
            Jpeg(quality=Span(low=82, high=90)),
        ),
    ),
    # The defaults published with Real-ESRGAN (Wang et al. 2021, Sec. 4.1; its options for RealESRGAN_x4plus), which are
    # for x4. Its sharpening of the HR side is left out: pairs with real LR have none either.
    "realesrgan": Degradation(
        name="realesrgan",
        steps=(
            KernelBlur(sigma_px=Span(low=0.2, high=3), lengths_at_x4=True),
            RandomResize(up=0.2, down=0.7, size=Span(low=0.15, high=1.5), base=4),
            RandomNoise(gaussian_levels=Span(low=1, high=30), poisson_scale=Span(low=0.05, high=3)),
            Jpeg(quality=Span(low=30, high=95)),
            KernelBlur(share=0.8, sigma_px=Span(low=0.2, high=1.5)),
            RandomResize(up=0.3, down=0.4, size=Span(low=0.3, high=1.2)),
            RandomNoise(gaussian_levels=Span(low=1, high=25), poisson_scale=Span(low=0.05, high=2.5)),
            FinalSinc(jpeg_quality=Span(low=30, high=95)),
        ),
    ),
}


def find_degradation(name: str, others: Sequence[str] = ()) -> Degradation:
    """Find the preset of that name.

    Args:
        name: As the user wrote it.
        others: What could be meant besides, for the message.

    Raises:
        UsageError: There is none.
    """
    for preset, degradation in DEGRADATIONS.items():
        if preset == name:
            return degradation
    known = (*DEGRADATIONS, *others)
    hint = nearest(name, known) or f"use one of {', '.join(known)}, or the path of a degradation.json"
    raise UsageError(f"`degrade` {name!r} is not a known degradation", hint)
