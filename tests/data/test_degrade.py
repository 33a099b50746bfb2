from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from adaptsr_cli.data.degrade import PRESETS, Degradation, Pass, Span, degrade, find_degradation
from adaptsr_cli.errors import UsageError
from adaptsr_cli.io.images import resize_bicubic


def photo(width_px: int = 64, height_px: int = 48, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height_px // 8, width_px // 8, 3), dtype=np.uint8)
    return resize_bicubic(small, width_px, height_px)


def one_pass(**settings: object) -> Degradation:
    return Degradation(name="test", passes=(Pass(**settings),))  # type: ignore[arg-type]


def fixed(value: float) -> Span:
    return Span(low=value, high=value)


def apply(degradation: Degradation, hr: np.ndarray, scale: int = 4, seed: int = 0) -> np.ndarray:
    return degrade(hr, scale, degradation, np.random.default_rng(seed)).astype(float)


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_every_preset_gives_a_picture_of_the_lr_size_and_the_same_for_a_seed(name: str, scale: int) -> None:
    hr = photo(60, 48)
    degradation = find_degradation(name)
    first = degrade(hr, scale, degradation, np.random.default_rng(1))
    assert (first.shape, first.dtype) == ((48 // scale, 60 // scale, 3), np.uint8)
    assert np.array_equal(first, degrade(hr, scale, degradation, np.random.default_rng(1)))
    other = degrade(hr, scale, degradation, np.random.default_rng(2))
    assert np.array_equal(first, other) == (name == "bicubic")
    assert np.abs(first.mean() - hr.mean()) < 12


def test_bicubic_is_the_antialiased_bicubic() -> None:
    hr = photo()
    difference = apply(PRESETS["bicubic"], hr) - resize_bicubic(hr, 16, 12)
    assert np.abs(difference).max() <= 1


def test_the_picture_is_left_as_it_was() -> None:
    hr = photo()
    before = hr.copy()
    apply(PRESETS["realesrgan"], hr)
    assert np.array_equal(hr, before)


def test_the_smallest_picture_can_be_degraded() -> None:
    for degradation in PRESETS.values():
        assert apply(degradation, np.full((4, 4, 3), 99, np.uint8)).shape == (1, 1, 3)


def test_blur_has_the_width_it_says_along_both_axes() -> None:
    point = np.zeros((65, 65, 3), np.uint8)
    point[32, 32] = 255
    degradation = one_pass(blur_lr_px=fixed(3.0), roundness=fixed(0.5), filters=("area",))
    spread = apply(degradation, point, scale=1)[..., 0]
    y, x = np.mgrid[-32:33, -32:33]
    weights = spread / spread.sum()
    moments = [[(weights * a * b).sum() for b in (x, y)] for a in (x, y)]
    short, long = np.sqrt(np.linalg.eigvalsh(np.array(moments)))
    assert long == pytest.approx(3.0, rel=0.15)  # 8-bit rounding cuts the tails off
    assert short == pytest.approx(1.5, rel=0.15)


def test_blur_keeps_a_flat_picture_flat_up_to_its_border() -> None:
    flat = np.full((32, 32, 3), 137, np.uint8)
    assert np.array_equal(apply(one_pass(blur_lr_px=fixed(1.0)), flat), np.full((8, 8, 3), 137.0))


def test_blur_is_in_lr_pixels_so_it_is_the_same_at_every_scale() -> None:
    blurred = one_pass(blur_lr_px=fixed(0.8), filters=("area",))
    edges = []
    for scale in (2, 4):
        edge = np.zeros((16 * scale, 16 * scale, 3), np.uint8)
        edge[:, 8 * scale :] = 200
        edges.append(apply(blurred, edge, scale)[8, :, 0])
    assert np.abs(edges[0] - edges[1]).max() < 4


def test_noise_has_the_variance_of_shot_and_read_noise() -> None:
    degradation = one_pass(shot_noise=fixed(0.004), read_noise=fixed(3.0))
    for level in (40, 200):
        noisy = apply(degradation, np.full((400, 400, 3), level, np.uint8))
        expected = np.sqrt(0.004 * level / 255 + (3 / 255) ** 2) * 255
        assert noisy.std() == pytest.approx(expected, rel=0.05)
        assert noisy.mean() == pytest.approx(level, abs=0.5)


def test_grey_noise_is_the_same_in_all_channels() -> None:
    flat = np.full((64, 64, 3), 100, np.uint8)
    grey = apply(one_pass(read_noise=fixed(8.0), grey_noise_share=1.0), flat)
    coloured = apply(one_pass(read_noise=fixed(8.0)), flat)
    assert np.array_equal(grey[..., 0], grey[..., 2])
    assert not np.array_equal(coloured[..., 0], coloured[..., 2])
    assert grey.std() == pytest.approx(8, rel=0.1)


def test_lower_jpeg_quality_costs_more() -> None:
    hr = photo(256, 256)
    clean = apply(one_pass(), hr)
    errors = [
        np.square(apply(one_pass(jpeg_share=1.0, jpeg_quality=fixed(quality)), hr) - clean).mean()
        for quality in (95, 60, 20)
    ]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_shares_decide_how_often() -> None:
    flat = np.full((16, 16, 3), 100, np.uint8)
    degradation = one_pass(read_noise=fixed(8.0), noise_share=0.5)
    noisy = sum(apply(degradation, flat, seed=seed).std() > 0 for seed in range(200))
    assert 70 < noisy < 130


def test_a_pass_between_may_have_another_size() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 255
    through_a_quarter = Degradation(name="test", passes=(Pass(size=fixed(0.25)), Pass()))
    assert apply(through_a_quarter, stripes, scale=1).std() < 10
    assert apply(one_pass(), stripes, scale=1).std() > 100


def test_settings_are_checked() -> None:
    with pytest.raises(ValidationError, match=r"from 3\.0 down to 1\.0"):
        Span(low=3.0, high=1.0)
    with pytest.raises(ValidationError):
        Pass(sharpness=1)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        Pass(jpeg_share=1.5)
    with pytest.raises(ValidationError):
        Degradation(name="nothing", passes=())
    for degradation in PRESETS.values():
        assert Degradation.model_validate_json(degradation.model_dump_json()) == degradation


def test_presets_are_found_by_name() -> None:
    for name, degradation in PRESETS.items():
        assert find_degradation(name) is degradation
        assert degradation.name == name
    with pytest.raises(UsageError, match="'realesgan'") as caught:
        find_degradation("realesgan")
    assert "realesrgan" in caught.value.hint
