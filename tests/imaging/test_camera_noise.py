"""Noise is added as stated, and found again."""

from __future__ import annotations

import numpy as np
import pytest
from imaging.scenes import dead_leaves
from numpy.testing import assert_allclose

from adaptsr_cli.artifacts.transfer import CameraNoise
from adaptsr_cli.imaging.camera_noise import (
    add_noise,
    contrast_of,
    noise_of_photographs,
    noise_of_residual,
    trace_of,
    typical_levels,
)
from adaptsr_cli.imaging.sharp_photographs import reduce_to_lr

NOISES = (
    CameraNoise(read_variance=9.0),
    CameraNoise(read_variance=2.0, shot_variance=0.1),
    CameraNoise(read_variance=9.0, correlation_px=0.7),
    CameraNoise(read_variance=9.0, shared=0.6),
)


def levels_of(shape: tuple[int, ...]) -> np.ndarray:
    """A picture of even patches from dark to bright."""
    ramp = np.repeat(np.linspace(30, 220, 16), shape[1] // 16)
    return np.broadcast_to(ramp[None, :, None], (shape[0], len(ramp), 3)).astype(np.float32)


@pytest.mark.parametrize("noise", NOISES)
def test_noise_has_its_variance_at_each_level(noise: CameraNoise) -> None:
    even = np.full((300, 300, 3), 200.0, np.float32)
    found = add_noise(noise, even, np.random.default_rng(0)) - even
    assert_allclose(found.std(), noise.deviation(np.array(200.0)), rtol=0.03)
    assert_allclose(np.corrcoef(found[..., 0].ravel(), found[..., 1].ravel())[0, 1], noise.shared, atol=0.02)


@pytest.mark.parametrize("noise", NOISES)
def test_a_residual_shows_level_slope_and_correlation(noise: CameraNoise) -> None:
    clean = levels_of((256, 512))
    found = noise_of_residual(add_noise(noise, clean, np.random.default_rng(0)) - clean, clean)
    for level in (60.0, 200.0):
        assert_allclose(found.deviation(np.array(level)), noise.deviation(np.array(level)), rtol=0.15)
    assert_allclose(found.correlation_px, noise.correlation_px, atol=0.15)
    assert_allclose(found.shared, noise.shared, atol=0.1)


def test_noise_of_texture_grows_with_the_contrast_and_is_found_again() -> None:
    noise = CameraNoise(read_variance=1.0, texture_variance=1.6, correlation_px=0.6, shared=0.5)
    clean = reduce_to_lr(dead_leaves(3, 1024, 1024).astype(np.float32), 4)
    left, contrast = add_noise(noise, clean, np.random.default_rng(0)) - clean, contrast_of(clean)
    for inside in (contrast < np.quantile(contrast, 0.3), contrast > np.quantile(contrast, 0.7)):
        promised = np.sqrt(np.square(noise.deviation(clean, contrast))[inside].mean())
        assert_allclose(left[inside].std(), promised, rtol=0.05)
    found = noise_of_residual(left, clean)
    assert_allclose(found.texture_variance, noise.texture_variance, rtol=0.3)
    assert_allclose(found.correlation_px, noise.correlation_px, atol=0.15)
    assert_allclose(found.scaled(2).texture_variance, 4 * found.texture_variance)
    assert (
        noise_of_residual(add_noise(NOISES[0], clean, np.random.default_rng(0)) - clean, clean).texture_variance < 0.2
    )


def test_photographs_show_that_noise_grows_with_brightness() -> None:
    noise = CameraNoise(read_variance=2.0, shot_variance=0.1)
    photos = []
    for seed in range(4):
        noisy = add_noise(noise, dead_leaves(seed).astype(np.float32), np.random.default_rng(seed))
        photos.append(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    traces = [trace_of(photo, look_for_jpeg=False) for photo in photos]
    found = noise_of_photographs(photos, typical_levels(traces))
    assert found.deviation(np.array(220.0)) > 1.3 * found.deviation(np.array(30.0))
    assert_allclose(found.levels, noise.levels, rtol=0.3)


def test_scaled_noise() -> None:
    assert_allclose(NOISES[1].scaled(2).levels, 2 * NOISES[1].levels)
    still = CameraNoise(read_variance=0.0)
    assert_allclose(add_noise(still, np.ones((4, 4, 3)), np.random.default_rng(0)), 1)
