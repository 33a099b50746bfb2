"""A known camera is found again: from pairs, and from photographs of other scenes."""

from __future__ import annotations

import numpy as np
import pytest
from imaging.scenes import dead_leaves
from numpy.testing import assert_allclose

from adaptsr_cli.artifacts.transfer import Band, CameraNoise, TransferFunction
from adaptsr_cli.errors import DataError
from adaptsr_cli.imaging.from_pairs import estimate_from_pairs
from adaptsr_cli.imaging.from_photographs import estimate_from_photographs
from adaptsr_cli.imaging.sharp_photographs import SharpPhotographs, SimulatedCamera, photograph, study_sharp
from adaptsr_cli.imaging.transfer_estimate import disagreement, judge

CAMERA = SimulatedCamera(
    TransferFunction(blur_px=2.0, sharpening=0.6, radius_px=3.0),
    CameraNoise(read_variance=1.0, shot_variance=0.02),
    (None,),
)
GRID = Band.grid(4)


@pytest.fixture(scope="module")
def sharp() -> SharpPhotographs:
    return study_sharp([dead_leaves(seed) for seed in range(50)], 4)


def taken(count: int, camera: SimulatedCamera = CAMERA) -> list[np.ndarray]:
    return [photograph(dead_leaves(100 + k), 4, camera, np.random.default_rng(k)) for k in range(count)]


def test_one_pair_shows_the_function_and_the_noise() -> None:
    hr = dead_leaves(7, 512, 512)
    found = estimate_from_pairs([(hr, photograph(hr, 4, CAMERA, np.random.default_rng(0)))], 4)
    assert_allclose(found.transfer.at(GRID), CAMERA.transfer.at(GRID), atol=0.06)
    assert_allclose(found.noise.levels, CAMERA.noise.levels, rtol=0.25)
    assert found.dropped < found.windows


def test_a_shift_of_half_a_pixel_is_not_read_as_blur() -> None:
    hr = dead_leaves(7, 512, 512)
    shifted = np.roll(hr, 2, axis=1)  # half an LR pixel
    found = estimate_from_pairs([(shifted, photograph(hr, 4, CAMERA, np.random.default_rng(0)))], 4)
    assert_allclose(found.transfer.at(GRID), CAMERA.transfer.at(GRID), atol=0.08)


def test_an_oval_blur_is_found_with_its_angle() -> None:
    oval = TransferFunction(blur_px=3.0, short_blur_px=1.0, angle=0.5)
    hr = dead_leaves(8, 512, 512)
    lr = photograph(hr, 4, SimulatedCamera(oval, CameraNoise(read_variance=0.5), (None,)), np.random.default_rng(0))
    found = estimate_from_pairs([(hr, lr)], 4).transfer
    for fy, fx in ((0.0, 0.06), (0.06, 0.0), (0.05, 0.05), (-0.05, 0.05)):
        assert_allclose(found.at_2d(np.array(fy), np.array(fx)), oval.at_2d(np.array(fy), np.array(fx)), atol=0.08)


def test_pairs_that_show_different_things_are_refused() -> None:
    other = photograph(dead_leaves(9), 4, CAMERA, np.random.default_rng(0))
    with pytest.raises(DataError, match="no window"):
        estimate_from_pairs([(dead_leaves(10), other)], 4)


def test_photographs_of_other_scenes_show_the_function(sharp: SharpPhotographs) -> None:
    found = estimate_from_photographs(taken(12), sharp, file_qualities=[None] * 12, different_scenes=0)
    true = CAMERA.transfer.at(GRID)
    assert np.abs(np.array(found.band.median) - true).max() < 0.15
    assert np.abs(np.array(found.band.median) - true).mean() < np.abs(1 - true).mean() / 2
    assert found.trustworthy or "too wide" in found.reason  # fifty sharp photographs are few
    assert len(found.draws) == 64
    assert "blurs by" in found.describe()


def test_the_same_seed_gives_the_same_estimate(sharp: SharpPhotographs) -> None:
    one, other = (estimate_from_photographs(taken(2), sharp, seed=3) for _ in range(2))
    assert one == other


def test_one_photograph_leaves_a_wider_band_than_twelve(sharp: SharpPhotographs) -> None:
    few, many = (
        estimate_from_photographs(taken(count), sharp, different_scenes=0, file_qualities=[None] * count)
        for count in (1, 12)
    )
    assert few.band.widest > 1.3 * many.band.widest


def test_what_no_camera_explains_leaves_no_narrow_spread(sharp: SharpPhotographs) -> None:
    photos = taken(12)
    odd, plain = (
        estimate_from_photographs(each, sharp, different_scenes=0, file_qualities=[None] * 12)
        for each in ([notched(photo) for photo in photos], photos)
    )
    odd_spread, plain_spread = (np.std([draw.at(GRID) for draw in e.draws], axis=0).mean() for e in (odd, plain))
    assert odd.misfit > 10 * plain.misfit
    assert odd_spread > 0.9 * plain_spread


@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_noise_beside_detail_is_not_read_as_detail(sharp: SharpPhotographs, strength: float) -> None:
    # A strong blur leaves next to no detail at the fine end of the spectra, so what is there is noise.
    noise = CameraNoise(read_variance=0.1, texture_variance=strength, correlation_px=0.7, shared=0.5)
    camera = SimulatedCamera(TransferFunction(blur_px=5.0), noise, (None,))
    found = estimate_from_photographs(taken(12, camera), sharp, different_scenes=0, file_qualities=[None] * 12)
    assert_allclose(found.noise.texture_variance, strength, rtol=0.3)
    assert found.explains_photographs
    assert np.abs(np.array(found.band.median) - camera.transfer.at(GRID)).mean() < 0.06


def notched(photo: np.ndarray) -> np.ndarray:
    """Contrast that falls and rises again over frequency, as by no blur and sharpening."""
    fy, fx = np.fft.fftfreq(photo.shape[0])[:, None], np.fft.rfftfreq(photo.shape[1])[None]
    gain = 1 - 0.6 * np.exp(-(((np.hypot(fy, fx) - 0.2) / 0.06) ** 2))
    changed = np.fft.irfft2(np.fft.rfft2(photo, axes=(0, 1)) * gain[..., None], s=photo.shape[:2], axes=(0, 1))
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def test_photographs_that_are_too_small_are_refused(sharp: SharpPhotographs) -> None:
    with pytest.raises(DataError, match="no LR photograph"):
        estimate_from_photographs([np.zeros((40, 40, 3), np.uint8)], sharp)
    with pytest.raises(DataError, match="8"):
        study_sharp([dead_leaves(0)], 4)


def band(height: float, width: float) -> Band:
    middle = np.full((2, 23), float(height))
    middle[0] -= width / 2
    middle[1] += width / 2
    return Band.of(middle[[0, 0, 1, 1]], 4)


def test_the_verdict_names_what_is_wrong() -> None:
    assert judge(band(1, 0.2), band(1, 0.2), band(1.02, 0.2), 10, 15) == (True, "spectra and edges agree")
    assert "too wide" in judge(band(1, 0.9), None, None, 10, 15)[1]
    assert "disagree" in judge(band(1, 0.1), band(1, 0.1), band(1.5, 0.1), 10, 15)[1]
    assert "explain" in judge(band(1, 0.1), band(1, 0.1), band(1, 0.1), 100, 15)[1]
    assert disagreement(band(1, 0.1), band(1, 0.1)) == 0


def test_a_large_photograph_is_compared_by_parts(sharp: SharpPhotographs) -> None:
    large = photograph(dead_leaves(300, 1024, 1024, 8000), 4, CAMERA, np.random.default_rng(0))
    found = estimate_from_photographs([large], sharp, file_qualities=[None])
    assert found.photographs == 1
    assert np.abs(np.array(found.band.median) - CAMERA.transfer.at(GRID)).mean() < 0.25
