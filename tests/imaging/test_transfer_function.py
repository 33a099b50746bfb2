"""The transfer function: its formula, its two ways of being applied, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from pydantic import ValidationError

from adaptsr_cli.artifacts.transfer import IDENTITY, TransferFunction
from adaptsr_cli.imaging.degrade import blur
from adaptsr_cli.imaging.transfer_function import apply_transfer, kernel_of

CAMERAS = (
    TransferFunction(blur_px=1.5),
    TransferFunction(blur_px=1.0, sharpening=0.8, radius_px=3.0),
    TransferFunction(blur_px=2.0, short_blur_px=1.2, angle=0.6, sharpening=0.3),
)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.describe())
def test_a_wave_is_multiplied_by_the_gain_at_its_frequency(camera: TransferFunction) -> None:
    y, x = np.mgrid[:128, :128]
    fy, fx = 6 / 128, 9 / 128
    wave = np.cos(2 * np.pi * (fy * y + fx * x))
    inside = slice(40, 88)
    ratio = apply_transfer(camera, wave)[inside, inside] / np.where(np.abs(wave) > 0.3, wave, np.nan)[inside, inside]
    expected = camera.at_2d(np.array(fy), np.array(fx))
    assert_allclose(ratio[~np.isnan(ratio)], expected, atol=2e-3)


@pytest.mark.parametrize("camera", CAMERAS, ids=lambda camera: camera.describe())
def test_kernel_and_fourier_transform_do_the_same(camera: TransferFunction) -> None:
    image = np.random.default_rng(0).random((60, 80, 3)).astype(np.float32)
    by_kernel = blur(torch.from_numpy(image).permute(2, 0, 1), kernel_of(camera)).permute(1, 2, 0).numpy()
    assert_allclose(apply_transfer(camera, image), by_kernel, atol=2e-3)


@pytest.mark.parametrize("camera", [*CAMERAS, IDENTITY], ids=lambda camera: camera.describe())
def test_brightness_is_kept(camera: TransferFunction) -> None:
    even = np.full((20, 30, 3), 77.0)
    assert_allclose(apply_transfer(camera, even), even, atol=1e-3)
    assert camera.at(np.array(0.0)) == 1


def test_sharpening_rises_above_one_and_no_blur_does() -> None:
    f = np.linspace(0, 0.12, 50)
    assert TransferFunction(blur_px=1.0, sharpening=0.8, radius_px=3.0).at(f).max() > 1.3
    assert TransferFunction(blur_px=1.0).at(f).max() == 1


def test_a_share_runs_from_nothing_to_all() -> None:
    camera = CAMERAS[2]
    assert camera.between(0).is_identity
    assert camera.between(1) == camera
    f = np.linspace(0.01, 0.12, 20)
    assert (np.abs(np.log(camera.between(0.5).at(f))) <= np.abs(np.log(camera.at(f))) + 0.05).all()
    with pytest.raises(ValueError, match="share"):
        camera.between(1.5)


def test_the_axes_are_in_order() -> None:
    with pytest.raises(ValidationError, match="shorter axis"):
        TransferFunction(blur_px=1.0, short_blur_px=2.0)


def test_a_mean_over_directions_lies_between_both_axes() -> None:
    camera, f = TransferFunction(blur_px=2.0, short_blur_px=1.0), np.array(0.08)
    along, across = camera.at_2d(np.array(0.0), f), camera.at_2d(f, np.array(0.0))
    assert along < camera.at(f) < across
