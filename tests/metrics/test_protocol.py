"""The named protocols and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptsr_cli.artifacts.metrics import METRICS
from adaptsr_cli.errors import DataError, UsageError
from adaptsr_cli.metrics.fidelity import luma, psnr_db, ssim
from adaptsr_cli.metrics.measures import MEASURES
from adaptsr_cli.metrics.protocol import (
    PAPER,
    PROTOCOLS,
    RGB,
    STABLESR,
    WHOLE,
    Protocol,
    default_metrics,
    find_protocol,
    parse_metrics,
    score_images,
)


def images(height: int = 30, width: int = 34) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    hr = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    noise = rng.integers(-9, 10, hr.shape)
    return np.clip(hr.astype(int) + noise, 0, 255).astype(np.uint8), hr


def test_the_border_is_as_wide_as_the_scale() -> None:
    sr, hr = images()
    frame = sr.copy()
    frame[:4], frame[-4:], frame[:, :4], frame[:, -4:] = 0, 0, 255, 255
    scores = [score_images(image, hr, protocol=PAPER, scale=4, metrics=("psnr", "ssim")) for image in (sr, frame)]
    assert scores[0] == scores[1]
    assert score_images(frame, hr, protocol=PAPER, scale=3, metrics=("psnr",))["psnr_y_db"] < 30
    assert score_images(frame, hr, protocol=WHOLE, scale=4, metrics=("psnr",))["psnr_y_db"] < 30


def test_scores_are_those_of_the_cropped_images_under_their_names() -> None:
    sr, hr = images()
    scores = score_images(sr, hr, protocol=PAPER, scale=2, metrics=("psnr", "ssim"))
    sr, hr = sr[2:-2, 2:-2], hr[2:-2, 2:-2]
    assert scores == {
        "psnr_y_db": psnr_db(luma(sr), luma(hr)),
        "ssim_y": ssim(luma(sr), luma(hr)),
        "psnr_rgb_db": psnr_db(sr, hr),
        "ssim_rgb": ssim(sr, hr),
    }
    assert scores["psnr_y_db"] > scores["psnr_rgb_db"]


def test_luma_is_not_rounded() -> None:
    hr = np.zeros((20, 20, 3), np.uint8)
    sr = hr.copy()
    sr[..., 2] = 1  # Y differs by 24.966 / 255, which rounding would hide
    score = score_images(sr, hr, protocol=PAPER, scale=1, metrics=("psnr",))["psnr_y_db"]
    assert score == pytest.approx(20 * math.log10(255 / (24.966 / 255)), abs=1e-9)


def test_equal_images_get_a_finite_score() -> None:
    _, hr = images()
    scores = score_images(hr, hr, protocol=PAPER, scale=4, metrics=("psnr", "ssim"))
    assert scores["psnr_y_db"] == scores["psnr_rgb_db"] == 100
    assert scores["ssim_y"] == pytest.approx(1)


def test_other_metrics_get_the_cropped_images() -> None:
    sr, hr = images()
    seen = []

    def distance(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
        seen.append((first.shape, second.shape))
        return {"lpips_alex": 0.25}

    names = ("psnr", "lpips_alex")
    scores = score_images(sr, hr, protocol=PAPER, scale=4, metrics=names, others=distance)
    assert scores["lpips_alex"] == 0.25
    assert set(scores) == {"psnr_y_db", "psnr_rgb_db", "lpips_alex"}
    assert seen == [((22, 26, 3), (22, 26, 3))]


def test_different_sizes_are_refused_with_both_named() -> None:
    sr, hr = images(32, 36)
    with pytest.raises(DataError, match=r"36x32 px but its reference is 35x30 px"):
        score_images(sr, hr[:30, :35], protocol=PAPER, scale=4, metrics=("psnr",))


@pytest.mark.parametrize(("side", "metrics", "fits"), [
    (18, ("ssim",), False),
    (19, ("ssim",), True),
    (8, ("psnr",), False),
    (9, ("psnr",), True),
])  # fmt: skip
def test_images_without_enough_inside_the_border_are_refused(side: int, metrics: tuple[str, ...], fits: bool) -> None:
    sr, hr = images(40, side)
    if fits:
        assert score_images(sr, hr, protocol=PAPER, scale=4, metrics=metrics)
    else:
        with pytest.raises(DataError, match=f"{side}x40 px is too small"):
            score_images(sr, hr, protocol=PAPER, scale=4, metrics=metrics)


def test_only_uint8_is_scored() -> None:
    sr, hr = images()
    with pytest.raises(TypeError, match="uint8"):
        score_images(sr / 255, hr, protocol=PAPER, scale=4, metrics=("psnr",))


def test_protocols_are_found_by_name() -> None:
    assert find_protocol("paper") is PAPER
    assert find_protocol(" Whole ") is WHOLE
    with pytest.raises(UsageError) as caught:
        find_protocol("papr")
    assert "paper" in caught.value.hint


def test_every_protocol_tells_what_it_does() -> None:
    text = PAPER.describe(3)
    for fact in ("uint8", "border of 3 px", "BT.601", "16-235", "11x11", "1.5", "without downsampling", "RGB", "mean"):
        assert fact in text
    assert "no border" in WHOLE.describe(3)
    assert Protocol("x", crops_border=True).border_px(4) == 4


def test_every_protocol_is_named_with_its_parameters() -> None:
    assert list(PROTOCOLS) == ["paper", "rgb", "basicsr", "stablesr", "whole", "no-reference"]
    for name, protocol in PROTOCOLS.items():
        assert protocol.describe(4).startswith(f"{name}: ")
        parameters = protocol.parameters(4)
        assert parameters.border_px == (4 if name in {"paper", "rgb", "basicsr"} else 0)
        assert parameters.ssim_window_px == 11
        assert parameters.ssim_sigma_px == 1.5
        assert ("y" in parameters.channels) == (name not in {"rgb", "no-reference"})
        assert parameters.reference == (name != "no-reference")
    assert "float32" in PROTOCOLS["basicsr"].describe(4)
    assert STABLESR.parameters(4).lr_crop_px == 128
    assert "centre crop of 128 px LR" in STABLESR.describe(4)
    assert "Y of" not in RGB.describe(4)


def test_what_is_measured_by_default_needs_no_more_than_there_is() -> None:
    assert default_metrics("paper") == "psnr,ssim,lpips_squeeze"
    assert default_metrics("no-reference") == "niqe,sharpness,noise"
    with pytest.raises(UsageError):
        default_metrics("none")


def test_rgb_has_no_scores_on_luma() -> None:
    sr, hr = images()
    assert set(score_images(sr, hr, protocol=RGB, scale=4, metrics=("psnr", "ssim"))) == {"psnr_rgb_db", "ssim_rgb"}


@pytest.mark.parametrize(("height", "width"), [(128, 128), (131, 140), (200, 129)])
def test_stablesr_takes_the_same_middle_of_lr_and_hr(height: int, width: int) -> None:
    lr = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    hr = lr.repeat(4, axis=0).repeat(4, axis=1)
    small, large = STABLESR.crop_lr(lr), STABLESR.crop_hr(hr, 4)
    assert (small.shape, large.shape) == ((128, 128, 3), (512, 512, 3))
    np.testing.assert_array_equal(large[::4, ::4], small)
    top, left = (height - 128) // 2, (width - 128) // 2
    np.testing.assert_array_equal(small, lr[top : top + 128, left : left + 128])
    np.testing.assert_array_equal(STABLESR.crop_hr(large, 4), large)  # outputs that were stored as crops
    assert PAPER.crop_lr(lr) is lr
    assert PAPER.crop_hr(hr, 4) is hr


def test_images_smaller_than_the_crop_are_refused() -> None:
    with pytest.raises(DataError, match=r"127x300 px is too small for protocol stablesr, which takes the 128x128 px"):
        STABLESR.crop_lr(np.zeros((300, 127, 3), np.uint8))
    with pytest.raises(DataError, match="512x512 px in the middle"):
        STABLESR.crop_hr(np.zeros((511, 512, 3), np.uint8), 4)


@pytest.mark.parametrize(("text", "expected"), [
    ("psnr", ("psnr",)),
    ("psnr,ssim,lpips", ("psnr", "ssim", "lpips_squeeze")),
    (" SSIM , PSNR,,ssim ", ("ssim", "psnr")),
    ("lpips:alex,lpips-vgg,lpips_squeeze,lpips", ("lpips_alex", "lpips_vgg", "lpips_squeeze")),
])  # fmt: skip
def test_metrics_are_read_as_people_write_them(text: str, expected: tuple[str, ...]) -> None:
    assert parse_metrics(text) == expected


@pytest.mark.parametrize(("text", "named"), [
    ("psnr,sim", "ssim"),
    ("lpips:alexnet", "lpips_alex"),
    ("fid", "psnr, ssim"),
    ("", "psnr"),
    (",", "psnr"),
])  # fmt: skip
def test_unknown_metrics_are_named_with_the_nearest(text: str, named: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_metrics(text)
    assert named in caught.value.hint


def test_every_metric_has_its_words_and_its_computation() -> None:
    """PSNR and SSIM are computed by the protocol, all others by the table of measures."""
    assert tuple(METRICS) == ("psnr", "ssim", *MEASURES)
    assert all(spec.name == name and spec.keys for name, spec in METRICS.items())
    keys = [key for spec in METRICS.values() for key in spec.keys]
    assert len(keys) == len(set(keys))
