"""PSNR and SSIM against figures worked out by hand and an independent, direct implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptsr_cli.metrics.fidelity import luma, psnr_db, ssim


def pair(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    first = np.clip(128 + 80 * np.sin(rows / 3 + columns / 5) + rng.normal(0, 10, (height, width)), 0, 255)
    return first, np.clip(first + rng.normal(0, 12, (height, width)), 0, 255)


def direct_ssim(first: np.ndarray, second: np.ndarray, taps: int = 11, sigma: float = 1.5) -> float:
    """Wang et al. 2004 written down window by window."""
    offsets = np.arange(taps) - taps // 2
    line = np.exp(-(offsets**2) / (2 * sigma**2))
    window = np.outer(line, line) / line.sum() ** 2
    luminance, contrast = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for top in range(first.shape[0] - taps + 1):
        for left in range(first.shape[1] - taps + 1):
            x = first[top : top + taps, left : left + taps].astype(np.float64)
            y = second[top : top + taps, left : left + taps].astype(np.float64)
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
            covariance = (window * (x - mean_x) * (y - mean_y)).sum()
            values.append(
                (2 * mean_x * mean_y + luminance)
                * (2 * covariance + contrast)
                / ((mean_x**2 + mean_y**2 + luminance) * (var_x + var_y + contrast))
            )
    return float(np.mean(values))


def test_psnr_of_a_constant_difference_is_as_worked_out_by_hand() -> None:
    black = np.zeros((4, 5, 3), np.uint8)
    assert psnr_db(black, black + 1) == pytest.approx(20 * math.log10(255), abs=1e-12)
    assert psnr_db(black, np.full_like(black, 255)) == pytest.approx(0, abs=1e-12)
    one = black.copy()
    one[0, 0, 0] = 10  # mean square 100 / 60
    assert psnr_db(black, one) == pytest.approx(10 * math.log10(255**2 / (100 / 60)), abs=1e-12)


def test_psnr_does_not_wrap_around_in_uint8_and_is_infinite_for_equal_images() -> None:
    low, high = np.full((3, 3), 1, np.uint8), np.full((3, 3), 3, np.uint8)
    assert psnr_db(low, high) == psnr_db(high, low) == pytest.approx(10 * math.log10(255**2 / 4))
    assert psnr_db(low, low) == math.inf


def test_luma_is_bt601_in_the_limited_range() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    expected = [16, 235, 16 + 65.481, 16 + 128.553, 16 + 24.966]
    np.testing.assert_allclose(luma(colours)[0], expected, atol=1e-12)
    assert luma(colours).dtype == np.float64


@pytest.mark.parametrize(("height", "width"), [(11, 11), (24, 31), (40, 17)])
def test_ssim_equals_the_direct_implementation(height: int, width: int) -> None:
    first, second = pair(height, width)
    assert ssim(first, second) == pytest.approx(direct_ssim(first, second), abs=1e-6)


def test_a_window_of_13_taps_would_be_noticed() -> None:
    first, second = pair(24, 31)
    assert abs(direct_ssim(first, second, taps=13) - direct_ssim(first, second)) > 1e-4
    assert abs(ssim(first, second) - direct_ssim(first, second, taps=13)) > 1e-4


def test_ssim_in_colour_is_the_mean_over_channels() -> None:
    channels = [pair(20, 22, seed) for seed in range(3)]
    first = np.stack([pair_[0] for pair_ in channels], axis=2).astype(np.uint8)
    second = np.stack([pair_[1] for pair_ in channels], axis=2).astype(np.uint8)
    expected = np.mean([direct_ssim(first[..., c], second[..., c]) for c in range(3)])
    assert ssim(first, second) == pytest.approx(expected, abs=1e-6)


def test_ssim_of_equal_images_is_one() -> None:
    first, _ = pair(15, 15)
    assert ssim(first, first) == pytest.approx(1, abs=1e-12)
