"""A training draws from the whole spread, and from the plain reduction by its share."""

from __future__ import annotations

import numpy as np
import pytest

from adaptsr_cli.artifacts.transfer import Band, CameraNoise, TransferEstimate, TransferFunction
from adaptsr_cli.imaging.training_cameras import cautious_draws, with_unexplained

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
    freedom=15,
    trustworthy=True,
    reason="spectra and edges agree",
)


def test_the_cautious_draws_change_the_picture_least() -> None:
    assert cautious_draws(ESTIMATE, 0.4) == (DRAWS[0],)
    assert cautious_draws(ESTIMATE, 1) == DRAWS
    with pytest.raises(ValueError, match="share"):
        cautious_draws(ESTIMATE, 0)


def test_what_is_unexplained_adds_up_with_the_noise() -> None:
    assert with_unexplained(ESTIMATE.noise).read_variance == 5
    assert with_unexplained(ESTIMATE.noise, 2).read_variance == 8


def test_an_estimate_goes_through_a_file() -> None:
    assert TransferEstimate.model_validate_json(ESTIMATE.model_dump_json()) == ESTIMATE
    assert "blurs by 1.5 px and sharpens by 40 %" in ESTIMATE.describe()
