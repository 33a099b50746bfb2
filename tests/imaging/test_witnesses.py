"""Spectra and edges see a known camera, and the draws of a posterior have its mean and spread."""

from __future__ import annotations

import numpy as np
import pytest
from imaging.scenes import dead_leaves
from numpy.testing import assert_allclose

from adaptsr_cli.artifacts.transfer import TransferFunction
from adaptsr_cli.imaging import edges, spectra
from adaptsr_cli.imaging.bootstrap import EDGES, FIGURES, hear, resample, summarise
from adaptsr_cli.imaging.camera_noise import brightness_of
from adaptsr_cli.imaging.posterior import sample
from adaptsr_cli.imaging.sharp_photographs import reduce_to_lr
from adaptsr_cli.imaging.transfer_function import apply_transfer

CAMERA = TransferFunction(blur_px=2.0, sharpening=0.5, radius_px=3.0)


def test_white_noise_has_its_variance_in_every_band() -> None:
    noise = np.random.default_rng(0).normal(0, 3, (400, 400))
    assert_allclose(spectra.band_power(noise), 9, rtol=0.15)


def test_a_picture_smaller_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="smaller than a window"):
        spectra.band_power(np.zeros((47, 100)))


def test_the_spectrum_follows_the_function() -> None:
    ratios = []
    for seed in range(3):
        scene = brightness_of(dead_leaves(seed))
        before, after = (spectra.band_power(reduce_to_lr(x, 4)) for x in (scene, apply_transfer(CAMERA, scene)))
        ratios.append(np.log(after / before) / 2)
    assert_allclose(np.exp(np.mean(ratios, axis=0)), CAMERA.at(spectra.FREQUENCIES / 4), atol=0.05)


def test_a_step_edge_shows_the_function() -> None:
    x = np.arange(400) - 200.0
    steps = {}
    for name, camera in (("plain", TransferFunction(blur_px=0.0)), ("camera", CAMERA)):
        # Slightly tilted, so that the edge meets the pixels at all phases.
        scene = np.clip((x[None] + 0.1 * np.arange(400)[:, None]), -0.5, 0.5) * 100 + 128
        response = edges.log_response([edges.find_edges(reduce_to_lr(apply_transfer(camera, scene), 4), 0.0)])
        assert response is not None
        steps[name] = response
    seen = np.exp(steps["camera"] - steps["plain"])
    true = CAMERA.at(edges.FREQUENCIES / 4)
    assert np.corrcoef(seen, true)[0, 1] > 0.98
    assert_allclose(seen, true, atol=0.15)


def test_an_even_picture_has_no_edges() -> None:
    heard = hear(np.full((64, 64), 100.0), 1.0)
    assert len(heard.edges.slopes) == 0
    assert np.isnan(summarise([heard])[EDGES]).all()


def test_more_photographs_scatter_less() -> None:
    photos = [hear(reduce_to_lr(brightness_of(dead_leaves(seed)), 4), 0.0) for seed in range(8)]
    rng = np.random.default_rng(0)
    few, many = (resample(photos, count, rng).covariance for count in (2, 8))
    assert few.shape == (FIGURES, FIGURES)
    assert 2 < np.trace(few[:12, :12]) / np.trace(many[:12, :12]) < 8


def test_draws_have_the_mean_and_the_spread_of_the_density() -> None:
    mean, spread = np.array([1.0, -2.0]), np.array([0.1, 0.5])
    rng = np.random.default_rng(0)

    def log_density(rows: np.ndarray) -> np.ndarray:
        return -0.5 * np.square((rows - mean) / spread).sum(axis=1)

    found = sample(log_density, rng.normal(0, 4, (4000, 2)), rng)
    assert_allclose(found.draws.mean(axis=0), mean, atol=0.05)
    assert_allclose(found.draws.std(axis=0), spread, rtol=0.15)
    assert_allclose(found.best, mean, atol=0.1)
    assert found.effective > 500
