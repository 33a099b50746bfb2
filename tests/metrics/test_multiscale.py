"""MS-SSIM against a figure of two independent programs, and against single-scale SSIM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.errors import DataError
from adaptsr_cli.metrics.fidelity import ssim
from adaptsr_cli.metrics.measures import Measures
from adaptsr_cli.metrics.multiscale import MIN_PX, _compare, _planes, ms_ssim
from adaptsr_cli.metrics.protocol import PAPER, RGB


def stated_images(height: int = 192, width: int = 208) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:height, :width]
    hr = np.stack([(3 * x + y * y // 9) % 256, (5 * y + x * y // 7) % 256, (x * x // 5 + 2 * y) % 256], axis=2)
    hr = hr.astype(np.uint8)
    noise = ((x * 37 + y * 57 + x * y * 11) % 29 - 14)[..., None] * np.array([0.5, 0.375, 1.25])
    return np.rint(np.clip(hr + noise, 0, 255)).astype(np.uint8), hr


def test_the_figure_of_independent_programs() -> None:
    # pytorch-msssim 1.0.0 (data_range=255, float64): 0.9971933; torchmetrics 1.9.0: 0.9971958
    assert ms_ssim(*stated_images()) == pytest.approx(0.9971933, abs=1e-6)


def test_the_window_of_a_scale_is_that_of_ssim() -> None:
    sr, hr = (image[..., 0] for image in stated_images(40, 50))
    luminance, contrast_structure = _compare(_planes(sr), _planes(hr))
    assert float((luminance * contrast_structure).mean()) == pytest.approx(ssim(sr, hr), abs=1e-9)


def test_equal_images_score_one_and_inverted_ones_nothing() -> None:
    sr, hr = stated_images()
    assert ms_ssim(hr, hr) == pytest.approx(1)
    assert ms_ssim(255 - hr, hr) == 0
    assert 0 < ms_ssim(sr // 2, hr) < ms_ssim(sr, hr)


def test_it_is_scored_on_y_where_the_protocol_has_y(tmp_path: Path) -> None:
    sr, hr = stated_images()
    paper = Measures(("ms_ssim", "psnr"), PAPER, tmp_path).score(sr, hr)
    assert paper == {"ms_ssim_y": ms_ssim(PAPER.luma(sr), PAPER.luma(hr)), "ms_ssim_rgb": ms_ssim(sr, hr)}
    assert set(Measures(("ms_ssim",), RGB, tmp_path).score(sr, hr)) == {"ms_ssim_rgb"}


def test_images_without_five_scales_are_refused(tmp_path: Path) -> None:
    sr, hr = stated_images(MIN_PX, MIN_PX + 3)
    measures = Measures(("ms_ssim",), PAPER, tmp_path)
    assert measures.score(sr, hr)
    with pytest.raises(DataError, match="179x175 px is too small for ms_ssim, which needs 176 px"):
        measures.score(sr[1:], hr[1:])
