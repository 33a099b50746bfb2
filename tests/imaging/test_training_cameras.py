"""A training draws from the whole spread, and from the plain reduction by its share."""

from __future__ import annotations

import numpy as np
import pytest

from adaptsr_cli.artifacts.transfer import IDENTITY, Band, CameraNoise, TransferEstimate, TransferFunction
from adaptsr_cli.imaging.training_cameras import cameras_of_spread, cautious_draws, likeliest_camera

DRAWS = tuple(TransferFunction(blur_px=blur, sharpening=0.4) for blur in (1.0, 1.5, 2.0))
BAND = Band.of(np.ones((4, 23)), 4)
ESTIMATE = TransferEstimate(
    transfer=DRAWS[1],
    draws=DRAWS,
    band=BAND,
    by_spectra=BAND,
    by_edges=None,
    noise=CameraNoise(read_variance=4.0),
    jpeg_qualities=(85, 90),
    photographs=3,
    misfit=5.0,
    trustworthy=True,
    reason="spectra and edges agree",
)


def test_every_draw_comes() -> None:
    cameras = cameras_of_spread(ESTIMATE, 6)
    assert [camera.transfer for camera in cameras] == [*DRAWS, *DRAWS]
    assert cameras[0].qualities == (85, 90, None)
    assert likeliest_camera(ESTIMATE).transfer == DRAWS[1]


def test_half_are_plain_and_have_the_noise_all_the_same() -> None:
    cameras = cameras_of_spread(ESTIMATE, 10, plain_share=0.5)
    assert sum(camera.transfer == IDENTITY for camera in cameras) == 5
    assert all(camera.noise == ESTIMATE.noise for camera in cameras)


def test_the_cautious_draws_change_the_picture_least() -> None:
    assert cautious_draws(ESTIMATE, 0.4) == (DRAWS[0],)
    assert cautious_draws(ESTIMATE, 1) == DRAWS
    assert {camera.transfer for camera in cameras_of_spread(ESTIMATE, 4, cautious=True)} == {DRAWS[0]}
    with pytest.raises(ValueError, match="share"):
        cautious_draws(ESTIMATE, 0)


def test_strength_zero_is_plain() -> None:
    assert all(camera.transfer.is_identity for camera in cameras_of_spread(ESTIMATE, 3, strength=0))
    with pytest.raises(ValueError, match="share"):
        cameras_of_spread(ESTIMATE, 3, plain_share=2)


def test_an_estimate_goes_through_a_file() -> None:
    assert TransferEstimate.model_validate_json(ESTIMATE.model_dump_json()) == ESTIMATE
    assert "blurs by 1.5 px and sharpens by 40 %" in ESTIMATE.describe()
