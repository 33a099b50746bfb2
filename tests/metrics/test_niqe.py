"""NIQE: the estimators on samples of known shape, and the whole on a photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from adaptsr_cli.errors import CheckpointError, DataError
from adaptsr_cli.io.images import read_rgb, resize_bicubic, write_rgb
from adaptsr_cli.metrics.measures import Measures
from adaptsr_cli.metrics.niqe import (
    ORIGINAL_FILE,
    OWN_FILE,
    Niqe,
    block_features,
    fit_asymmetric,
    fit_natural_scenes,
    halve,
    normalise,
    read_natural_scenes,
)
from adaptsr_cli.metrics.protocol import NO_REFERENCE
from adaptsr_cli.report.metric_names import name_metric


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return data.astronaut()[:384, :384].copy()


@pytest.fixture(scope="module")
def niqe(tmp_path_factory: pytest.TempPathFactory) -> Niqe:
    return Niqe(weights_dir=tmp_path_factory.mktemp("none"))


def blurred(image: np.ndarray, factor: int) -> np.ndarray:
    small = resize_bicubic(image, image.shape[1] // factor, image.shape[0] // factor)
    return resize_bicubic(small, image.shape[1], image.shape[0])


def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [0.6, 1.0, 2.0, 4.0])
def test_symmetric_samples_of_known_shape(shape: float) -> None:
    random = np.random.default_rng(0)
    # |x|^shape of a generalised Gaussian is gamma distributed
    values = random.gamma(1 / shape, size=400_000) ** (1 / shape) * random.choice((-1, 1), 400_000)
    found, left, right = fit_asymmetric(3 * values)
    assert found == pytest.approx(shape, rel=0.03)
    assert (left, right) == (pytest.approx(3, rel=0.03), pytest.approx(3, rel=0.03))


def test_asymmetric_samples_of_known_scales() -> None:
    random = np.random.default_rng(1)
    size = np.abs(random.normal(0, np.sqrt(0.5), 400_000))  # shape 2 and scale 1
    # of an asymmetric one, the larger side is also the more frequent
    values = np.where(random.random(400_000) < 2 / 5, -2 * size, 3 * size)
    assert fit_asymmetric(values) == pytest.approx((2, 2, 3), rel=0.03)
    assert fit_asymmetric(-values) == pytest.approx((2, 3, 2), rel=0.03)
    assert np.isnan(fit_asymmetric(np.zeros((9, 9)))).all()


def test_normalised_noise_is_a_unit_gaussian() -> None:
    plane = np.random.default_rng(0).normal(128, 20, (192, 192))
    coefficients, contrast = normalise(plane)
    assert contrast.mean() == pytest.approx(20, rel=0.1)
    assert 0.75 < coefficients.std() < 1  # every pixel has its share in its own mean
    flat, nothing = normalise(np.full((20, 30), 77.0))
    assert np.abs(flat).max() < 1e-3
    assert np.abs(nothing).max() < 1e-3


def test_halving_is_matlabs() -> None:
    # imresize(x, 0.5) weighs eight pixels by Keys' cubic (a = -0.5) stretched by two: 0.25, 0.75, 1.25, 1.75 away
    weights = np.array([0.8671875, 0.2265625, -0.0703125, -0.0234375]) / 2
    point = np.zeros((24, 24))
    point[12, 12] = 1
    line = halve(point)[6] / weights[0]
    assert line[[4, 5, 6, 7]] == pytest.approx(weights[[3, 1, 0, 2]], abs=1e-12)
    assert np.count_nonzero(line) == 4
    # and mirrors the edge: 2 1 0 | 0 1 2 3 4 under the first window
    ramp = halve(np.tile(np.arange(16.0), (16, 1)))[4]
    assert ramp[0] == pytest.approx(weights[[3, 2, 0, 1, 2, 3]] @ [2, 1, 1, 2, 3, 4], abs=1e-12)
    assert ramp[4] == pytest.approx(8.5)
    assert halve(np.full((6, 8), 3.0)) == pytest.approx(3)


def test_worse_pictures_score_worse(niqe: Niqe, photo: np.ndarray, tmp_path: Path) -> None:
    blur = [niqe(photo), *(niqe(blurred(photo, factor)) for factor in (2, 4, 8))]
    noise = [niqe(photo), *(niqe(noisy(photo, sigma)) for sigma in (10, 25, 60))]
    jpeg = [niqe(photo)]
    for quality in (40, 15, 5):
        write_rgb(tmp_path / f"{quality}.jpg", photo, quality=quality)
        jpeg.append(niqe(read_rgb(tmp_path / f"{quality}.jpg")))
    for scores in (blur, noise, jpeg):
        assert scores == sorted(scores)
        assert scores[-1] > scores[0] + 1


def test_only_pixels_count(niqe: Niqe, photo: np.ndarray, tmp_path: Path) -> None:
    scores = set()
    for name in ("a.png", "a.tif", "a.webp"):
        write_rgb(tmp_path / name, photo)
        if np.array_equal(read_rgb(tmp_path / name), photo):
            scores.add(niqe(read_rgb(tmp_path / name)))
    assert scores == {niqe(photo)}


def test_what_fills_no_block_is_left_out(niqe: Niqe, photo: np.ndarray) -> None:
    features, sharpness = block_features(photo[:300, :200])
    assert (features.shape, sharpness.shape) == ((6, 36), (6,))
    # blocks go row by row, and each is itself: the first is the same in a picture of two
    first, _ = block_features(photo[:96, :192])
    assert first.shape == (2, 36)
    with pytest.raises(DataError, match="191x96 px is too small for niqe, which needs two blocks of 96 px"):
        niqe(photo[:96, :191])
    assert niqe(photo[:96, :192]) is not None


def test_nothing_is_told_of_a_single_colour(niqe: Niqe) -> None:
    flat = np.full((200, 200, 3), 128, np.uint8)
    assert niqe(flat) is None
    measures = Measures(("niqe", "noise"), NO_REFERENCE, Path("nowhere"))
    assert set(measures.score_alone(flat)) == {"noise_levels"}


def test_fit_is_of_the_sharpest_blocks(photo: np.ndarray) -> None:
    smooth = photo.copy()
    smooth[:, 192:] = blurred(photo, 8)[:, 192:]
    fitted = fit_natural_scenes([smooth, noisy(photo, 5)])
    assert (fitted.mean.shape, fitted.covariance.shape) == ((36,), (36, 36))
    _, sharpness = block_features(smooth)
    assert (sharpness.reshape(4, 4)[:, 2:] < 0.75 * sharpness.max()).all()


def test_own_statistics_are_well_formed_and_said_to_be_own(niqe: Niqe) -> None:
    natural = read_natural_scenes(OWN_FILE)
    assert np.allclose(natural.covariance, natural.covariance.T)
    assert np.linalg.eigvalsh(natural.covariance).min() > -1e-9
    assert OWN_FILE.stat().st_size < 16_000
    assert niqe.key == "niqe_own"
    assert name_metric("niqe_own").label == "NIQE (own)"
    assert name_metric("niqe_own").better == "lower"


def test_original_statistics_are_taken_where_they_lie(photo: np.ndarray, tmp_path: Path) -> None:
    natural = read_natural_scenes(OWN_FILE)
    np.savez(
        tmp_path / ORIGINAL_FILE,
        mu_pris_param=natural.mean[None] + 0.1,
        cov_pris_param=natural.covariance,
        gaussian_window=np.ones((7, 7)) / 49,
    )
    original = Niqe(weights_dir=tmp_path)
    assert original.key == "niqe"
    assert original(photo) != Niqe(weights_dir=tmp_path / "none")(photo)
    np.savez(tmp_path / ORIGINAL_FILE, mu_pris_param=natural.mean[:5], cov_pris_param=natural.covariance)
    with pytest.raises(CheckpointError, match="another shape"):
        Niqe(weights_dir=tmp_path)
    (tmp_path / ORIGINAL_FILE).write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match="holds no statistics for niqe"):
        Niqe(weights_dir=tmp_path)
