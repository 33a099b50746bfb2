"""What tells a longer lens from a digital zoom: detail that the wide photograph does not predict."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from imaging.scenes import dead_leaves
from PIL import Image, ImageFilter
from registration.shots import Look, make_shot

from adaptsr_cli.io.images import resize
from adaptsr_cli.registration.new_detail import measure_new_detail
from adaptsr_cli.registration.opencv import blur
from adaptsr_cli.registration.planes import luma
from adaptsr_cli.registration.register import register
from adaptsr_cli.registration.verdict import Verdict, shows_new_detail

pytest.importorskip("cv2", reason="OpenCV is not installed (extra pair)")

SCENE = dead_leaves(1, 960, 1280, 12_000)
FILTERS = ("NEAREST", "BILINEAR", "BICUBIC", "LANCZOS")


def compress(image: Image.Image, quality: int | None) -> Image.Image:
    if quality is None:
        return image
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def wide() -> np.ndarray:
    """(480, 640, 3): the scene as a lens shows it, with its noise."""
    plane = blur(SCENE.astype(np.float32), 1.0)[::2, ::2]
    noise = np.random.default_rng(0).normal(0, 1, plane.shape)
    return np.clip(plane + noise + 0.5, 0, 255).astype(np.uint8)


def zoom(
    photo: np.ndarray, name: str, quality: int | None = None, *, by: float = 2, sharpen: bool = False
) -> np.ndarray:
    """The middle of a photograph, enlarged to its size."""
    height, width = (round(side / by) for side in photo.shape[:2])
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    part = Image.fromarray(photo[top : top + height, left : left + width])
    large = part.resize((photo.shape[1], photo.shape[0]), Image.Resampling[name])
    if sharpen:
        large = large.filter(ImageFilter.UnsharpMask(2, 80, 2))
    return np.asarray(compress(large, quality))


def judge(low: np.ndarray, high: np.ndarray, scale: int = 2) -> Verdict:
    return register(
        low, high, scale, zoom_hint=None, block_px=48,
        resize=lambda image, width, height: resize(image, width, height, "bicubic"),
    ).verdict  # fmt: skip


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("quality", [None, 95, 85, 75])
def test_an_enlarged_photograph_shows_nothing_new(name: str, quality: int | None) -> None:
    low = wide()[100:228, 200:328]
    high = Image.fromarray(low).resize((256, 256), Image.Resampling[name])
    found = measure_new_detail(luma(low), luma(np.asarray(compress(high, quality))))
    assert not shows_new_detail(found)
    if quality is None:
        assert found.share < 0.3


@pytest.mark.parametrize("quality", [None, 85])
def test_a_longer_lens_shows_something_new_whatever_its_colours(quality: int | None) -> None:
    high = np.asarray(compress(Image.fromarray(SCENE[200:456, 400:656]), quality)).astype(np.float32)
    found = measure_new_detail(luma(wide()[100:228, 200:328]), luma((0.7 * high + 20).astype(np.uint8)))
    assert shows_new_detail(found)
    assert found.levels > 2


def test_noise_of_the_wide_photograph_is_not_taken_for_detail_of_the_tele_one() -> None:
    low = wide()[100:228, 200:328]
    high = np.asarray(Image.fromarray(low).resize((256, 256), Image.Resampling.LANCZOS))
    noisy = luma(low) + np.random.default_rng(1).normal(0, 3, (128, 128)).astype(np.float32)
    assert not shows_new_detail(measure_new_detail(noisy, luma(high)))


def test_a_flat_window_shows_nothing() -> None:
    flat = np.full((64, 64), 90, np.float32)
    assert measure_new_detail(flat, np.full((128, 128), 90, np.float32)).levels < 1e-3


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("quality", [None, 85])
def test_a_digital_zoom_is_refused(name: str, quality: int | None) -> None:
    verdict = judge(wide(), zoom(wide(), name, quality))
    assert not verdict.accepted
    assert "no more detail than the wide one" in verdict.sentence


def test_a_digital_zoom_that_was_sharpened_is_refused() -> None:
    verdict = judge(wide(), zoom(wide(), "LANCZOS", 92, sharpen=True))
    assert not verdict.accepted
    assert "digital zoom" in verdict.sentence


@pytest.mark.parametrize("by", [2, 2.5])
def test_a_digital_zoom_smaller_than_the_scale_is_refused(by: float) -> None:
    photo = make_shot([SCENE], 0, zoom=2.0, tele_px=(1024, 768), most_wide_px=640, moved=False, near=False).tele
    verdict = judge(photo, zoom(photo, "BICUBIC", by=by), scale=4)
    assert not verdict.accepted
    assert "digital zoom" in verdict.sentence


@pytest.mark.parametrize(("lens", "scale"), [(1.5, 2), (2.1, 2), (2.1, 4), (3.2, 3)])
def test_a_longer_lens_is_accepted(lens: float, scale: int) -> None:
    looks = Look(noise=1.5), Look(gains=(0.9, 1.0, 1.1), blur=0.5, noise=1.5, quality=88)
    shot = make_shot([SCENE], 3, zoom=lens, tele_px=(1200, 900), most_wide_px=900, moved=False, near=False, looks=looks)
    verdict = judge(shot.wide, shot.tele, scale)
    assert verdict.accepted, verdict.sentence
