"""The parts of the registration, each against something known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from registration.shots import packaged_photos

from adaptsr_cli.registration.correction import fit_correction
from adaptsr_cli.registration.geometry import (
    Lens,
    Mapping,
    Region,
    SmoothField,
    find_region,
    look_up,
    powers,
    start_mapping,
)
from adaptsr_cli.registration.opencv import blur, enlarge_linearly
from adaptsr_cli.registration.photometry import fit_photometry
from adaptsr_cli.registration.planes import levels, luma, spread_windows, sum_cells, sum_windows
from adaptsr_cli.registration.refine import fit_mapping
from adaptsr_cli.registration.resample import Renderer, detail_ratio, low_pass
from adaptsr_cli.registration.residual import measure_residual, prepare

BENT = Mapping(
    (2.0, 0.01, 0.02, -0.02, 2.0, -0.01, 0.01, -0.02, 1.0),
    Lens(640, 480, k1=0.03, k2=-0.004, x=0.01, y=-0.02),
    Lens(800, 600, k1=-0.02, k2=0.003, x=-0.01),
    SmoothField(2, (320.0, 240.0), 200.0, ((0.1, 0.0), (0.2, -0.1), (0.0, 0.3), (0.1, 0.0), (0.0, 0.1), (-0.2, 0.0))),
)


def smooth_noise(height: int, width: int, sigma: float = 1.5, seed: int = 0) -> np.ndarray:
    plane = blur(np.random.default_rng(seed).normal(0, 1, (height, width)).astype(np.float32), sigma)
    return (128 + 40 * plane / plane.std()).astype(np.float32)


def test_the_inverse_of_a_mapping() -> None:
    points = np.stack(np.meshgrid(np.linspace(180, 460, 9), np.linspace(140, 340, 7)), -1)
    assert np.abs(BENT.inverse_points(BENT.map_points(points)) - points).max() < 1e-6


def test_the_jacobian_of_a_plain_zoom() -> None:
    mapping = start_mapping(np.array([[3.0, 0, 10], [0, 3.0, 20], [0, 0, 1]]), (640, 480), (800, 600))
    assert mapping.map_points(np.array([5.0, 7.0])) == pytest.approx([25, 41])
    assert mapping.zoom == pytest.approx(3)
    assert mapping.rotation_deg == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("per_px", [1, 2, 4])
def test_looking_up_is_the_mapping_at_every_pixel(per_px: int) -> None:
    region = Region(201, 150, 61, 45)
    places = look_up(BENT, region, per_px=per_px)
    assert places.shape == (45 * per_px, 61 * per_px, 2)
    rows, columns = np.mgrid[: 45 * per_px, : 61 * per_px]
    in_lr = (np.stack([columns, rows], -1) + 0.5) / per_px - 0.5 + np.array([201, 150])
    assert np.abs(places - BENT.map_points(in_lr)).max() < 0.01


def test_the_region_is_what_the_tele_photograph_shows() -> None:
    region = find_region(BENT, margin_px=0)
    corners = np.array([[region.left, region.top], [region.left + region.width - 1, region.top + region.height - 1]])
    seen = BENT.map_points(corners.astype(float))
    assert np.abs(seen - np.array([[0, 0], [799, 599]])).max() < 40  # it is turned and bent, so not exactly
    assert 280 < region.width < 360


def test_powers_have_the_order_that_the_record_tells() -> None:
    assert powers(np.array([2.0, 3.0]), 2).tolist() == [1, 2, 3, 4, 6, 9]


def test_a_mapping_is_found_from_noisy_points_some_of_which_are_wrong() -> None:
    rng = np.random.default_rng(0)
    truth = BENT.with_rest(None)
    points = rng.uniform([170, 130], [470, 350], (400, 2))
    targets = truth.map_points(points) + rng.normal(0, 0.2, (400, 2))
    targets[:80] += rng.uniform(5, 30, (80, 2))
    begin = Mapping(truth.homography, Lens(640, 480), Lens(800, 600))
    found = fit_mapping(begin, points, targets, np.full(400, 0.1), distortion=True)
    miss = np.hypot(*(found.map_points(points) - truth.map_points(points)).T) / 2
    assert np.percentile(miss, 95) < 0.06


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.2), (-0.7, 0.45)])
def test_a_known_shift_is_measured_with_the_photometry_and_the_blur_free(shift: tuple[float, float]) -> None:
    tele = smooth_noise(640, 640, sigma=3.0)
    mapping = start_mapping(np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 1]]), (320, 320), (640, 640))
    wanted = mapping.map_points(np.stack(np.meshgrid(np.arange(320.0) + shift[0], np.arange(320.0) + shift[1]), -1))
    from adaptsr_cli.registration.opencv import sample

    rng = np.random.default_rng(1)
    low = 0.8 * blur(sample(tele, wanted.astype(np.float32), "lanczos4"), 0.5) + 20 + rng.normal(0, 1, (320, 320))
    prepared = prepare(low.astype(np.float32), tele, 2.0)
    residual = measure_residual(prepared, mapping, find_region(mapping))
    assert residual.trusted.mean() > 0.8
    miss = residual.shifts_px[residual.trusted] - np.array(shift)
    assert np.abs(np.median(miss, axis=0)).max() < 0.01
    spread = np.sqrt((miss**2).sum(1).mean())
    bound = np.sqrt(residual.covariances[residual.trusted].trace(axis1=1, axis2=2).mean())
    assert 0.4 < spread / bound < 2.5  # the bound says what is


def test_flat_pictures_are_not_trusted() -> None:
    rng = np.random.default_rng(0)
    low, tele = (rng.normal(120, 2, (side, side)).astype(np.float32) for side in (256, 512))
    mapping = start_mapping(np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 1]]), (256, 256), (512, 512))
    residual = measure_residual(prepare(low, tele, 2.0), mapping, find_region(mapping))
    assert residual.trusted.mean() < 0.02


def test_the_photometric_fit_is_exact_on_exact_colours_and_goes_on_straight() -> None:
    rng = np.random.default_rng(0)
    region = Region(10, 20, 256, 192)
    tele = np.stack([smooth_noise(192, 256, 4.0, seed) for seed in range(3)], -1)
    x, y = np.linspace(-1, 1, 256)[None, :, None], np.linspace(-1, 1, 192)[:, None, None]
    low = 3 + tele * np.array([0.8, 0.95, 1.1]) * (1 - 0.1 * (x**2 + y**2))
    low[50:90, 60:120] += 60  # something that moved
    usable = np.ones((192, 256), bool)
    fit = fit_photometry(low.astype(np.float32), tele, usable, region)
    assert fit is not None
    assert "field" in fit.model
    colours = rng.uniform(90, 170, (20, 3)).astype(np.float32)
    for colour in colours:
        u, v = rng.uniform(-0.8, 0.8, 2)
        found = fit.apply(colour[None, None], np.array([10 + 127.5 * (1 + u)]), np.array([20 + 95.5 * (1 + v)]))[0, 0]
        wanted = 3 + colour * np.array([0.8, 0.95, 1.1]) * (1 - 0.1 * (u**2 + v**2))
        assert np.abs(found - wanted).max() < 1.0
    ends = [fit.apply(np.full((1, 1, 3), v, np.float32), np.array([138.0]), np.array([116.0]))[0, 0] for v in (0, 255)]
    assert np.abs(ends[0]).max() < 15
    assert (ends[1] > 180).all()


def test_too_little_to_fit_colours_to() -> None:
    plane = np.full((64, 64, 3), 100, np.float32)
    assert fit_photometry(plane, plane, np.zeros((64, 64), bool), Region(0, 0, 64, 64)) is None


def test_a_grid_that_fits_is_not_interpolated() -> None:
    photo = packaged_photos()[0]
    mapping = start_mapping(np.array([[2.0, 0, 0.5], [0, 2.0, 0.5], [0, 0, 1]]), (256, 256), (512, 512))
    high = Renderer(photo, mapping, 2).render(Region(60, 60, 64, 64))
    assert np.abs(high - photo[120:248, 120:248]).max() < 0.5


def test_a_coarser_grid_does_not_alias() -> None:
    rows = np.zeros((512, 512, 3), np.uint8)
    rows[::2] = 255  # the finest pattern there is
    mapping = start_mapping(np.array([[4.0, 0, 1.5], [0, 4.0, 1.5], [0, 0, 1]]), (128, 128), (512, 512))
    high = Renderer(rows, mapping, 2).render(Region(30, 30, 48, 48))
    assert high.std() < 8
    assert low_pass(2.0).sum() == pytest.approx(1)


def test_the_detail_ratio_tells_sharp_from_blurred() -> None:
    photo = luma(packaged_photos()[0])
    sharp, soft = photo[100:356, 100:356], blur(photo, 2.5)[100:356, 100:356]
    assert detail_ratio(sharp, 2) > 10 * detail_ratio(soft, 2)


def test_noise_is_not_corrected() -> None:
    tele = smooth_noise(900, 900, sigma=2.5)
    mapping = start_mapping(np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 1]]), (450, 450), (900, 900))
    low = blur(tele, 1.0)[::2, ::2] + np.random.default_rng(3).normal(0, 2, (450, 450))
    residual = measure_residual(prepare(low.astype(np.float32), tele, 2.0), mapping, find_region(mapping))
    assert fit_correction(residual, residual.region).field is None


def test_cells_and_windows() -> None:
    plane = np.arange(64 * 48, dtype=np.float32).reshape(64, 48)
    cells = sum_cells(plane)
    assert cells.shape == (4, 3)
    assert cells[0, 0] == plane[:16, :16].sum()
    assert sum_windows(cells)[1, 0] == plane[16:48, :32].sum()
    marked = np.zeros((3, 2), bool)
    marked[0, 1] = True
    assert np.argwhere(spread_windows(marked)).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]


def test_sixteen_bits_in_grey_levels() -> None:
    image = np.full((2, 2, 3), 65535, np.uint16)
    assert levels(image).max() == pytest.approx(255)
    assert luma(image)[0, 0] == pytest.approx(255)


def test_enlarging_keeps_a_ramp_where_it_is() -> None:
    ramp = np.arange(6.0)[None, :, None].repeat(4, 0)
    fine = enlarge_linearly(ramp, 8)[0, 8:-8]
    assert np.ravel(fine) == pytest.approx((np.arange(8, 40) + 0.5) / 8 - 0.5)
