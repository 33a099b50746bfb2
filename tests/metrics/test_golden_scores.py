"""Golden scores of stated images, and that a mistake in any part of the protocol moves them.

The figures were computed once by a program that shares no code with the package: the formulas of MATLAB's
``rgb2ycbcr`` and of Wang's ``ssim_index.m``, written out window by window in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from adaptsr_cli.metrics.fidelity import luma, psnr_db, ssim
from adaptsr_cli.metrics.protocol import BASICSR, PAPER, RGB, score_images

TOLERANCE = 2e-5  # R16 and R17 ask for 1e-4


def stated_images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output in float, output in uint8 and reference, 48x56; whole-number formulas, the same on any machine.

    The output is worse near the border, as those of networks are, and its channels err differently.
    """
    y, x = np.mgrid[:48, :56]
    hr = np.stack([(3 * x + y * y // 9) % 256, (5 * y + x * y // 7) % 256, (x * x // 5 + 2 * y) % 256], axis=2)
    noise = ((x * 37 + y * 57 + x * y * 11) % 29 - 14)[..., None] * np.array([0.5, 0.375, 1.25])
    edge = np.minimum(np.minimum(x, 55 - x), np.minimum(y, 47 - y)) < 4
    noisy = np.clip(hr + noise * np.where(edge, 3, 1)[..., None] + 0.3125, 0, 255)
    return noisy, np.rint(noisy).astype(np.uint8), hr.astype(np.uint8)


GOLDEN = {
    "psnr_y_db": 36.8507,
    "psnr_rgb_db": 31.62008,
    "ssim_y": 0.962463,
    "ssim_rgb": 0.917635,
}


def test_scores_are_the_golden_ones() -> None:
    _, sr, hr = stated_images()
    scores = score_images(sr, hr, protocol=PAPER, scale=4, metrics=("psnr", "ssim"))
    assert scores == pytest.approx(GOLDEN, abs=TOLERANCE)
    rgb = score_images(sr, hr, protocol=RGB, scale=4, metrics=("psnr", "ssim"))
    assert rgb == pytest.approx({key: GOLDEN[key] for key in ("psnr_rgb_db", "ssim_rgb")}, abs=TOLERANCE)


def test_basicsr_passes_through_float32_and_agrees_with_paper() -> None:
    _, sr, hr = stated_images()
    single = score_images(sr, hr, protocol=BASICSR, scale=4, metrics=("psnr", "ssim"))
    assert single == pytest.approx(GOLDEN, abs=TOLERANCE)
    assert BASICSR.luma(sr).dtype == np.float32
    np.testing.assert_allclose(BASICSR.luma(sr), luma(sr), atol=5e-5)


def inner(image: np.ndarray) -> np.ndarray:
    return image[4:-4, 4:-4]


def full_range(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


def wrong_ssim(**options: object) -> Callable[[np.ndarray, np.ndarray], float]:
    right = {"win_size": 11, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}

    def score(first: np.ndarray, second: np.ndarray) -> float:
        return float(structural_similarity(first, second, **{**right, **options}))

    return score


def thirteen_taps(first: np.ndarray, second: np.ndarray) -> float:
    return wrong_ssim(truncate=4.0, win_size=13)(first, second)


def downsampled(first: np.ndarray, second: np.ndarray) -> float:
    return ssim(first[::2, ::2], second[::2, ::2])


def mistaken_scores() -> dict[str, tuple[str, float]]:
    """Part of the protocol -> the golden figure that a mistake there should move, and what the mistake gives."""
    exact, sr, hr = stated_images()
    y_sr, y_hr = luma(inner(sr)), luma(inner(hr))
    y_exact = inner(exact) @ (np.array([65.481, 128.553, 24.966]) / 255) + 16
    return {
        "RGB for Y": ("psnr_y_db", psnr_db(inner(sr), inner(hr))),
        "BGR for RGB": ("psnr_y_db", psnr_db(luma(inner(sr)[..., ::-1]), luma(inner(hr)[..., ::-1]))),
        "full range": ("psnr_y_db", psnr_db(full_range(inner(sr)), full_range(inner(hr)))),
        "no crop": ("psnr_y_db", psnr_db(luma(sr), luma(hr))),
        "no crop, SSIM": ("ssim_y", ssim(luma(sr), luma(hr))),
        "crop of 2": ("psnr_y_db", psnr_db(luma(sr[2:-2, 2:-2]), luma(hr[2:-2, 2:-2]))),
        "float output": ("psnr_y_db", psnr_db(y_exact, y_hr)),
        "float output, RGB": ("psnr_rgb_db", psnr_db(inner(exact), inner(hr))),
        "Y rounded": ("psnr_y_db", psnr_db(np.rint(y_sr), np.rint(y_hr))),
        "13-tap window": ("ssim_y", thirteen_taps(y_sr, y_hr)),
        "7-tap uniform window": ("ssim_y", wrong_ssim(gaussian_weights=False, win_size=7)(y_sr, y_hr)),
        "sample covariance": ("ssim_y", wrong_ssim(use_sample_covariance=True)(y_sr, y_hr)),
        "range of 219": ("ssim_y", wrong_ssim(data_range=219)(y_sr, y_hr)),
        "downsampling": ("ssim_y", downsampled(y_sr, y_hr)),
    }


@pytest.mark.parametrize("part", list(mistaken_scores()))
def test_a_mistake_in_any_part_of_the_protocol_would_be_caught(part: str) -> None:
    key, mistaken = mistaken_scores()[part]
    assert abs(mistaken - GOLDEN[key]) > 3 * TOLERANCE
