"""The camera estimate on photographs of known degradation: those that come with scikit-image, halved in size."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from adaptsr_cli.artifacts.camera import CameraEstimate, Percentiles
from adaptsr_cli.artifacts.degradation import Jpeg, LensBlur, SensorNoise, Span
from adaptsr_cli.data.photos import demo_photos
from adaptsr_cli.errors import DataError, ImageError
from adaptsr_cli.imaging.degrade import blur, degrade
from adaptsr_cli.imaging.estimate import PhotoEstimate, degradation_of, estimate_camera, estimate_photo, summarise
from adaptsr_cli.imaging.estimate_blur import blur_px
from adaptsr_cli.imaging.estimate_jpeg_quality import find_jpeg_quality, quality_of_table
from adaptsr_cli.imaging.estimate_noise import flat_noise_levels, white_noise_levels
from adaptsr_cli.imaging.kernels import shaped_kernel
from adaptsr_cli.io.images import decode_rgb, encode_jpeg, jpeg_table, list_images, read_rgb, resize_bicubic, write_rgb
from adaptsr_cli.progress import Silent


@cache
def clean_photos() -> tuple[np.ndarray, ...]:
    """The colour photographs, halved; at most 320 px."""
    photos = [photo for part in demo_photos() for _, photo in part]
    colour = [photo for photo in photos if not np.array_equal(photo[..., 0], photo[..., 2])]
    return tuple(resize_bicubic(p[:640, :640], min(640, p.shape[1]) // 2, min(640, p.shape[0]) // 2) for p in colour)


def add_noise(photo: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    noisy = photo + sigma * np.random.default_rng(seed).standard_normal(photo.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def soften(photo: np.ndarray, sigma_px: float) -> np.ndarray:
    kernel = shaped_kernel(2 * int(4 * sigma_px) + 3, sigma_px, sigma_px, 0.0)
    soft = blur(torch.from_numpy(photo.astype(np.float32)).permute(2, 0, 1), kernel)
    return np.rint(soft.permute(1, 2, 0).numpy()).clip(0, 255).astype(np.uint8)


def estimate(photo: np.ndarray, file_quality: int | None = None) -> PhotoEstimate:
    return estimate_photo(photo, np.random.default_rng(0), file_quality=file_quality)


# Noise


# Some of these photographs have noise of more than one level themselves, which cannot be told from two added.
@pytest.mark.parametrize("sigma", [3.0, 5.0, 12.0, 25.0])
def test_white_noise_is_found_within_a_fifth(sigma: float) -> None:
    found = [white_noise_levels(add_noise(photo, sigma, seed)) for seed, photo in enumerate(clean_photos())]
    assert len(found) >= 5
    assert found == [pytest.approx(sigma, rel=0.2)] * len(found)


def test_white_noise_is_found_in_nearly_all_photographs(shared: Path) -> None:
    paths = list_images(shared / "data" / "train_hr")[3::40]
    within = []
    for index, path in enumerate(paths):
        rgb = read_rgb(path)
        clean = resize_bicubic(rgb, rgb.shape[1] // 2, rgb.shape[0] // 2)
        for sigma in (2.0, 7.0, 25.0):
            within.append(abs(white_noise_levels(add_noise(clean, sigma, index)) / sigma - 1) <= 0.2)
    assert np.mean(within) >= 0.95


def test_a_clean_photograph_shows_little_more_than_rounding() -> None:
    assert max(white_noise_levels(photo) for photo in clean_photos()) < 1.5


def test_saturated_areas_do_not_hide_noise() -> None:
    photo = clean_photos()[0].copy()
    photo[: photo.shape[0] // 2] = 255
    assert white_noise_levels(add_noise(photo, 5.0)) == pytest.approx(5, rel=0.2)


@pytest.mark.parametrize("quality", [None, 95, 85])
@pytest.mark.parametrize("sigma", [5.0, 15.0])
def test_noise_before_jpeg_is_read_off_flat_places(quality: int | None, sigma: float) -> None:
    slope = np.linspace(40, 200, 256)[:, None, None] * np.ones((1, 256, 3))
    noisy = add_noise(slope, sigma)
    grey = np.repeat(noisy[..., :1], 3, axis=2)
    noisy = grey if quality is None else decode_rgb(encode_jpeg(noisy, quality))
    assert flat_noise_levels(noisy, quality) == pytest.approx(sigma, rel=0.1)


def test_texture_can_only_add_to_noise_before_jpeg() -> None:
    for photo in clean_photos():
        stored = decode_rgb(encode_jpeg(add_noise(photo, 8.0), 90))
        assert flat_noise_levels(stored, 90) > 0.85 * 8


# JPEG


@pytest.mark.parametrize("quality", [1, 25, 50, 75, 90, 95, 100])
def test_the_quality_of_a_file_is_read_from_its_tables(tmp_path: Path, quality: int) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode_jpeg(clean_photos()[0], quality))
    table = jpeg_table(path)
    assert table is not None
    assert len(table) == 64
    assert quality_of_table(table) == quality


def test_a_table_of_a_camera_gets_the_quality_nearest_to_it(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode_jpeg(clean_photos()[0], 80))
    table = jpeg_table(path)
    assert table is not None
    assert abs(quality_of_table([step + index % 2 for index, step in enumerate(table)]) - 80) <= 3


def test_other_files_have_no_jpeg_table(tmp_path: Path) -> None:
    for suffix in ("png", "tif", "webp"):
        write_rgb(tmp_path / f"photo.{suffix}", clean_photos()[0])
        assert jpeg_table(tmp_path / f"photo.{suffix}") is None
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        jpeg_table(tmp_path / "broken.jpg")


@pytest.mark.parametrize("quality", [30, 60, 85, 95])
@pytest.mark.parametrize("cut", [(0, 0), (3, 6)])
def test_the_quality_is_found_in_decoded_pixels(quality: int, cut: tuple[int, int]) -> None:
    for photo in clean_photos():
        decoded = decode_rgb(encode_jpeg(photo, quality))[cut[0] :, cut[1] :]
        assert find_jpeg_quality(decoded) == quality


def test_no_jpeg_is_found_where_there_was_none() -> None:
    for photo in clean_photos():
        assert find_jpeg_quality(photo) is None
        assert find_jpeg_quality(add_noise(photo, 6.0)) is None
    assert find_jpeg_quality(np.full((64, 64, 3), 99, np.uint8)) is None
    assert find_jpeg_quality(np.full((5, 5, 3), 99, np.uint8)) is None


# Blur


def test_blur_is_found_in_pixels() -> None:
    for sigma, tolerance in ((0.0, 0.45), (1.0, 0.35), (2.0, 0.45), (3.0, 0.5)):
        found = [blur_px(soften(photo, sigma) if sigma else photo, 0.3) for photo in clean_photos()]
        assert np.median([value for value in found if value is not None]) == pytest.approx(sigma, abs=tolerance)


def test_more_blur_is_seen_as_more() -> None:
    for photo in clean_photos():
        found = [blur_px(add_noise(soften(photo, sigma), 2.0), 2.0) for sigma in (0.8, 1.6, 3.0)]
        assert None not in found
        assert found == sorted(found)  # type: ignore[type-var]


def test_blur_of_a_flat_picture_cannot_be_told() -> None:
    assert blur_px(np.full((64, 64, 3), 99, np.uint8), 0.3) is None
    assert blur_px(add_noise(np.full((64, 64, 3), 99.0), 5.0), 5.0) is None


# The camera


def photo_estimate(noise: float, *, bound: bool = False, quality: int | None = None) -> PhotoEstimate:
    return PhotoEstimate(noise, bound, quality, None)


def test_photographs_are_put_together() -> None:
    camera = summarise([photo_estimate(noise) for noise in (1, 2, 3, 4, 5)])
    assert camera.noise_levels == Percentiles(low=1.4, median=3.0, high=4.6)
    assert (camera.photos, camera.jpeg_photos, camera.jpeg_quality, camera.blur_px) == (5, 0, None, None)
    assert camera.describe() == ("camera, from 5 photos: noise 3.0 (1.4 to 4.6) grey levels, no JPEG, blur unknown")


def test_where_texture_adds_the_quieter_half_of_the_photographs_counts() -> None:
    textured = [photo_estimate(noise, bound=True, quality=90) for noise in (2, 2, 2, 9, 30)]
    assert summarise(textured).noise_levels == Percentiles(low=2, median=2, high=2)
    assert summarise([*textured[:2], *(photo_estimate(3) for _ in range(3))]).noise_levels.median == 3


def write_camera(folder: Path, sigma: float, quality: int, sigma_px: float) -> list[Path]:
    for index, photo in enumerate(clean_photos()):
        rgb = add_noise(soften(photo, sigma_px), sigma, index)
        (folder / f"{index}.jpg").write_bytes(encode_jpeg(rgb, quality))
    return list_images(folder)


def test_a_camera_is_found_and_the_degradation_centred_on_it(tmp_path: Path) -> None:
    progress = Silent()
    camera = estimate_camera(write_camera(tmp_path, 6.0, 88, 1.3), progress)
    assert camera.photos == camera.jpeg_photos == len(clean_photos())
    assert camera.jpeg_quality == Percentiles(low=88, median=88, high=88)
    assert camera.noise_levels.median == pytest.approx(6, rel=0.25)
    assert camera.blur_px is not None
    assert camera.blur_px.median == pytest.approx(1.3, abs=0.4)
    assert "JPEG quality 88, blur" in camera.describe()
    lens, to_lr, noise, jpeg = degradation_of(camera).steps
    assert isinstance(lens, LensBlur)
    assert isinstance(noise, SensorNoise)
    assert lens.sigma_lr_px.low < camera.blur_px.median < lens.sigma_lr_px.high
    assert noise.read_levels.low < camera.noise_levels.median < noise.read_levels.high
    assert jpeg == Jpeg(quality=Span(low=83, high=93))
    assert to_lr.kind == "to_lr"


def test_pictures_degraded_so_look_like_the_camera(tmp_path: Path) -> None:
    """What is estimated from the degraded pictures is what the degradation was made from."""
    wanted = CameraEstimate(
        photos=1,
        noise_levels=Percentiles(low=8, median=8, high=8),
        jpeg_photos=0,
        jpeg_quality=None,
        blur_px=Percentiles(low=1.2, median=1.2, high=1.2),
    )
    degradation = degradation_of(wanted)
    hr = [photo for part in demo_photos() for _, photo in part if min(photo.shape[:2]) >= 256]
    for index, photo in enumerate(hr):
        even = np.ascontiguousarray(photo[: photo.shape[0] // 2 * 2, : photo.shape[1] // 2 * 2])
        write_rgb(tmp_path / f"{index}.png", degrade(even, 2, degradation, np.random.default_rng(index)))
    found = estimate_camera(list_images(tmp_path), Silent())
    assert found.noise_levels.median == pytest.approx(8, rel=0.2)
    assert found.blur_px is not None
    assert found.blur_px.median == pytest.approx(1.2, abs=0.5)


def test_photographs_are_drawn_by_the_seed(tmp_path: Path) -> None:
    paths = write_camera(tmp_path, 4.0, 90, 0.5)
    first = estimate_camera(paths, Silent(), most=3, seed=1)
    assert first.photos == 3
    assert first == estimate_camera(paths, Silent(), most=3, seed=1)
    assert first != estimate_camera(paths, Silent(), most=3, seed=-5)


def test_large_photographs_are_measured_in_windows() -> None:
    large = np.tile(clean_photos()[0], (6, 6, 1))
    assert min(large.shape[:2]) > 1024
    found = estimate(add_noise(large, 6.0))
    assert found.noise_levels == pytest.approx(6, rel=0.1)
    decoded = decode_rgb(encode_jpeg(large, 85))
    assert estimate(decoded).jpeg_quality == 85
    panorama = np.ascontiguousarray(large[:80])
    assert estimate(add_noise(panorama, 6.0)).noise_levels == pytest.approx(6, rel=0.1)


def test_small_photographs_are_left_out_and_none_left_is_an_error(tmp_path: Path) -> None:
    write_rgb(tmp_path / "small.png", np.zeros((63, 200, 3), np.uint8))
    with pytest.raises(DataError, match="64 x 64"):
        estimate_camera(list_images(tmp_path), Silent())
    write_rgb(tmp_path / "large.png", clean_photos()[0])
    assert estimate_camera(list_images(tmp_path), Silent()).photos == 1


def test_the_flattest_photograph_can_be_measured() -> None:
    found = estimate(np.full((64, 64, 3), 255, np.uint8))
    assert found == PhotoEstimate(pytest.approx(0, abs=0.01), True, None, None)
