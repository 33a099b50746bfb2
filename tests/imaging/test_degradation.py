from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from adaptsr_cli.artifacts.camera import CameraEstimate, Percentiles
from adaptsr_cli.artifacts.degradation import (
    Degradation,
    DegradationRecord,
    FinalSinc,
    Jpeg,
    KernelBlur,
    KernelShares,
    LensBlur,
    OddSpan,
    RandomNoise,
    RandomResize,
    Span,
    ToLr,
)
from adaptsr_cli.errors import UsageError
from adaptsr_cli.imaging.degradation_presets import DEGRADATIONS, find_degradation


def span(low: float, high: float) -> Span:
    return Span(low=low, high=high)


def test_realesrgan_has_the_published_ranges() -> None:
    blur, size, noise, jpeg, blur2, size2, noise2, final = DEGRADATIONS["realesrgan"].steps
    assert isinstance(blur, KernelBlur)
    assert isinstance(blur2, KernelBlur)
    assert (blur.share, blur.sinc_share, blur.sigma_px) == (1, 0.1, span(0.2, 3))
    assert (blur2.share, blur2.sinc_share, blur2.sigma_px) == (0.8, 0.1, span(0.2, 1.5))
    assert tuple(blur.shapes.model_dump().values()) == (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    for step in (blur, blur2):
        assert (step.size_px, step.generalized_beta, step.plateau_beta) == (
            OddSpan(low=7, high=21),
            span(0.5, 4),
            span(1, 2),
        )
        assert (step.sinc_cutoff, step.sinc_cutoff_small) == (span(math.pi / 5, math.pi), span(math.pi / 3, math.pi))
    assert isinstance(size, RandomResize)
    assert isinstance(size2, RandomResize)
    assert (size.up, size.down, size.size, size.base) == (0.2, 0.7, span(0.15, 1.5), 4)
    assert (size2.up, size2.down, size2.size, size2.base) == (0.3, 0.4, span(0.3, 1.2), 1)
    assert isinstance(noise, RandomNoise)
    assert isinstance(noise2, RandomNoise)
    assert (noise.gaussian_share, noise.gaussian_levels, noise.poisson_scale, noise.grey_share) == (
        0.5,
        span(1, 30),
        span(0.05, 3),
        0.4,
    )
    assert (noise2.gaussian_share, noise2.gaussian_levels, noise2.poisson_scale, noise2.grey_share) == (
        0.5,
        span(1, 25),
        span(0.05, 2.5),
        0.4,
    )
    assert jpeg == Jpeg(quality=span(30, 95))
    assert final == FinalSinc(
        jpeg_last=0.5, jpeg_quality=span(30, 95), sinc_share=0.8, sinc_cutoff=span(math.pi / 3, math.pi)
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: span(3, 1), r"from 3\.0 down to 1\.0"),
        (lambda: OddSpan(low=7, high=20), "odd"),
        (lambda: KernelShares(iso=0.9), r"add up to 1\.45"),
        (lambda: LensBlur(sigma_lr_px=span(1, 1), sharpness=1), "Extra inputs"),  # type: ignore[call-arg]
        (lambda: Jpeg(quality=span(0, 50)), "between 1 and 100"),
        (lambda: Jpeg(quality=span(50, 50), share=1.5), "less than or equal to 1"),
        (lambda: FinalSinc(jpeg_quality=span(50, 101)), "between 1 and 100"),
        (lambda: RandomResize(up=0.5, down=0.5, size=span(1.1, 2)), "enclose 1"),
        (lambda: RandomResize(up=0.8, down=0.5, size=span(0.5, 2)), "1 at most"),
        (lambda: LensBlur(sigma_lr_px=span(1, 1e4)), "less than or equal to 1000"),
        (lambda: LensBlur(sigma_lr_px=span(1, 21)), "a blur of 21 LR px is more than 20"),
        (lambda: RandomResize(up=0.5, down=0.5, size=span(0.5, 5), base=4), "20 times the size"),
        (lambda: RandomNoise(gaussian_levels=span(1, 1e300), poisson_scale=span(1, 1)), "less than or equal to 1000"),
        (lambda: Degradation(name="nothing", steps=()), "at least 1"),
        (lambda: Degradation(name="full size", steps=(Jpeg(quality=span(50, 50)),)), "just one step"),
        (lambda: Degradation(name="twice", steps=(ToLr(), ToLr())), "just one step"),
        (
            lambda: Degradation(name="after", steps=(ToLr(), RandomResize(up=0, down=1, size=span(0.5, 1)))),
            "none may change",
        ),
    ],
)
def test_wrong_settings_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        make()


def test_odd_lengths_reach_both_ends() -> None:
    rng = np.random.default_rng(0)
    assert {OddSpan(low=3, high=7).draw(rng) for _ in range(60)} == {3, 5, 7}


def test_presets_are_found_by_name() -> None:
    for name, degradation in DEGRADATIONS.items():
        assert find_degradation(name) is degradation
        assert degradation.name == name
    with pytest.raises(UsageError, match="'realesgan'") as caught:
        find_degradation("realesgan")
    assert "realesrgan" in caught.value.hint


@pytest.mark.parametrize("name", sorted(DEGRADATIONS))
def test_the_file_gives_back_what_was_written(name: str) -> None:
    estimate = CameraEstimate(
        photos=3,
        noise_levels=Percentiles(low=1.0, median=2.0, high=3.5),
        jpeg_photos=2,
        jpeg_quality=Percentiles(low=80, median=85, high=90),
        blur_px=None,
    )
    record = DegradationRecord(degradation=find_degradation(name), estimate=estimate)
    assert DegradationRecord.model_validate_json(record.model_dump_json()) == record


def test_a_step_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValidationError, match="kind"):
        Degradation.model_validate_json('{"name": "x", "steps": [{"kind": "fog"}]}')
