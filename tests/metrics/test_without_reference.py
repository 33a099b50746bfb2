"""Sharpness, noise and colour: each answers to what it is named after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data
from skimage.filters import gaussian

from adaptsr_cli.errors import DataError
from adaptsr_cli.metrics.fidelity import colour_differences
from adaptsr_cli.metrics.measures import Measures
from adaptsr_cli.metrics.protocol import PAPER
from adaptsr_cli.metrics.without_reference import score_alone

BOTH = ("sharpness", "noise")


def photo() -> np.ndarray:
    image: np.ndarray = data.astronaut()[::2, ::2]
    return image


def blurred(image: np.ndarray, sigma_px: float) -> np.ndarray:
    return np.rint(gaussian(image, sigma_px, channel_axis=2, preserve_range=True)).astype(np.uint8)


def noisy(image: np.ndarray, levels: float) -> np.ndarray:
    field = np.random.default_rng(0).normal(0, levels, image.shape)
    return np.clip(np.rint(image + field), 0, 255).astype(np.uint8)


def test_softer_pictures_have_more_blur() -> None:
    blurs = [score_alone(blurred(photo(), sigma), BOTH)["blur_px"] for sigma in (0.01, 1, 2)]
    assert blurs == sorted(blurs)
    assert blurs[2] == pytest.approx(2, abs=0.7)


def test_noisier_pictures_have_more_noise_also_where_it_is_not_white() -> None:
    smooth = blurred(photo(), 2)
    levels = [score_alone(noisy(smooth, sigma), BOTH)["noise_levels"] for sigma in (0, 4, 8)]
    assert levels[0] < levels[1] < levels[2]
    assert levels[2] == pytest.approx(8, rel=0.35)
    # enlarged by repetition: the difference of neighbours says nothing, the flat blocks do
    coarse = noisy(blurred(photo(), 4)[::2, ::2], 8).repeat(2, axis=0).repeat(2, axis=1)
    assert score_alone(coarse, BOTH)["noise_levels"] > 4


def test_a_picture_without_edges_has_no_sharpness() -> None:
    flat = np.full((64, 64, 3), 128, np.uint8)
    assert set(score_alone(flat, BOTH)) == {"noise_levels"}
    assert score_alone(flat, ("psnr",)) == {}
    with pytest.raises(DataError, match="15x64 px is too small"):
        score_alone(flat[:, :15], BOTH)


def colour_difference(first: np.ndarray, second: np.ndarray) -> float:
    return colour_differences(first, second)["delta_e_2000"]


def test_delta_e_sees_a_shift_of_colour_that_y_hardly_sees() -> None:
    reference = np.full((32, 32, 3), 128, np.uint8)
    shifted = reference + np.array([0, 0, 10], np.uint8)
    brighter = reference + np.uint8(1)
    assert colour_difference(reference, reference) == 0
    y = [abs(float((PAPER.luma(image) - PAPER.luma(reference)).mean())) for image in (shifted, brighter)]
    assert y[0] == pytest.approx(y[1], rel=0.2)
    assert colour_difference(shifted, reference) > 5 * colour_difference(brighter, reference)


def test_delta_e_of_stated_colours() -> None:
    # CIE L*a*b* of sRGB red and green, D65: 53.24, 80.09, 67.20 and 87.73, -86.18, 83.18; their CIEDE2000 is 86.61
    red, green = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    assert colour_difference(red, green) == pytest.approx(86.61, abs=0.02)


def test_delta_e_tells_a_shift_of_colour_from_detail() -> None:
    rng = np.random.default_rng(0)
    reference = rng.integers(100, 140, (64, 64, 1)).astype(np.uint8).repeat(3, axis=2)
    other_detail = rng.permutation(reference.reshape(-1, 3)).reshape(reference.shape)
    detail, shift = (
        colour_differences(image, reference) for image in (other_detail, reference + np.array([9, 0, 0], np.uint8))
    )
    assert detail["delta_e_2000_local"] < detail["delta_e_2000"] / 5
    assert detail["delta_e_2000_chroma"] < 0.01
    assert shift["delta_e_2000_local"] == pytest.approx(shift["delta_e_2000"], rel=0.02)
    assert 0.9 * shift["delta_e_2000"] < shift["delta_e_2000_chroma"] < shift["delta_e_2000"]


def test_an_image_smaller_than_a_cell_has_no_local_difference() -> None:
    assert set(colour_differences(photo()[:7, :9], photo()[:7, :9])) == {"delta_e_2000", "delta_e_2000_chroma"}


def test_they_are_measured_on_the_output_alone(tmp_path: Path) -> None:
    measures = Measures((*BOTH, "psnr"), PAPER, tmp_path)
    assert measures.score(photo(), np.zeros_like(photo())) == score_alone(photo(), BOTH)
