"""The guard takes the strength that nearly all plausible cameras gain by, and none where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from adaptsr_cli.artifacts.camera import CameraEstimate, Percentiles
from adaptsr_cli.artifacts.degradation import CameraGrain, CameraTransfer, DegradationRecord, LensBlur
from adaptsr_cli.artifacts.transfer import Band, CameraNoise, TransferEstimate, TransferFunction
from adaptsr_cli.imaging.degradation_presets import DEGRADATIONS
from adaptsr_cli.imaging.estimate import degradation_of
from adaptsr_cli.imaging.guard import STRENGTHS, choose_strength, plausible_cameras
from adaptsr_cli.imaging.measure_camera import degradation_of_camera

DRAWS = tuple(TransferFunction(blur_px=blur) for blur in np.linspace(1, 3, 20))
ESTIMATE = TransferEstimate(
    transfer=DRAWS[10],
    draws=DRAWS,
    band=Band.of(np.array([draw.at(Band.grid(4)) for draw in DRAWS]), 4),
    by_spectra=None,
    by_edges=None,
    noise=CameraNoise(read_variance=3.0),
    jpeg_qualities=(80,),
    photographs=2,
    misfit=1.0,
    freedom=15,
    trustworthy=True,
    reason="",
)


def test_the_cameras_are_the_whole_spread_half_of_it_and_noisier() -> None:
    cameras = plausible_cameras(DegradationRecord(degradation=degradation_of_camera(ESTIMATE, 4), estimate=ESTIMATE))
    blurs, variances = [], []
    for camera in cameras:
        transfer, _, grain, jpeg = camera.steps
        assert isinstance(transfer, CameraTransfer)
        assert isinstance(grain, CameraGrain)
        assert jpeg.kind == "jpeg"
        blurs.append(transfer.functions[0].blur_px)
        variances.append(grain.noise.read_variance)
    assert len(cameras) == len(set(blurs)) == 12
    assert (min(blurs) < 1.1 / np.sqrt(2) + 0.1, max(blurs) > 2.7) == (True, True)
    assert sorted(set(variances)) == [4.0, 7.0]


def test_of_photos_measured_alone_the_blur_may_be_the_scenes() -> None:
    estimate = CameraEstimate(
        photos=3,
        noise_levels=Percentiles(low=1, median=2, high=3),
        jpeg_photos=0,
        jpeg_quality=None,
        blur_px=Percentiles(low=1, median=1, high=1),
    )
    cameras = plausible_cameras(DegradationRecord(degradation=degradation_of(estimate), estimate=estimate))
    spans = [step.sigma_lr_px.high for camera in cameras for step in camera.steps if isinstance(step, LensBlur)]
    assert spans == [0.0, pytest.approx(1.2), pytest.approx(0.6)]


def test_a_named_degradation_has_no_plausible_cameras() -> None:
    with pytest.raises(ValueError, match="estimate"):
        plausible_cameras(DegradationRecord(degradation=DEGRADATIONS["bicubic"], estimate=None))


@pytest.mark.parametrize(
    ("full", "chosen"),
    [
        (lambda s: s * np.ones(20), STRENGTHS[-1]),  # all gain
        (lambda s: -s * np.ones(20), 0.0),  # none does
        (lambda s: np.where(np.arange(20) < 5, s - 8 * s**2, 0.3 * s), 0.0),  # a quarter lose what half of them gain
        (lambda s: np.where(np.arange(20) < 5, 2 * s - 6 * s**2, s), 0.25),  # too much for a quarter of them
        (lambda s: np.where(np.arange(20) < 5, 2 * s - 3 * s**2, 2 * s), STRENGTHS[-1]),  # they lose little
        (lambda s: np.where(np.arange(20) < 1, -s, s), STRENGTHS[-1]),  # one in twenty may lose
        (lambda s: 0.01 * s * np.ones(20), 0.0),  # too little to be worth it
    ],
)
def test_the_strength_is_that_of_the_largest_careful_gain(full: object, chosen: float) -> None:
    gains = np.array([full(strength) for strength in STRENGTHS])  # type: ignore[operator]
    choice = choose_strength(STRENGTHS, gains)
    assert choice.strength == chosen
    assert (choice.low_db <= choice.median_db).all()
    assert choice.low_db[0] == choice.median_db[0] == 0


def test_gains_and_strengths_must_go_together() -> None:
    tried = len(STRENGTHS)
    for gains in (np.zeros((tried - 1, 3)), np.zeros((tried, 0)), np.zeros(tried)):
        with pytest.raises(ValueError, match="together"):
            choose_strength(STRENGTHS, gains)
