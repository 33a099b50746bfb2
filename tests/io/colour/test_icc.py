"""Profiles that are made mean to lcms what they are meant to mean."""

from __future__ import annotations

from io import BytesIO

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from adaptsr_cli.io.colour.icc import (
    SRGB_PARAMETERS,
    is_linear,
    make_grey_profile,
    make_rgb_profile,
    read_curve,
    read_space,
    with_srgb_curve,
)

D65 = (0.3127, 0.3290)
SRGB = np.array(((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)))
P3 = np.array(((0.68, 0.32), (0.265, 0.69), (0.15, 0.06)))
LEVELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def through_lcms(icc: bytes, samples: np.ndarray) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(BytesIO(icc))
    return np.asarray(
        ImageCms.profileToProfile(Image.fromarray(samples), source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    )


def test_a_profile_of_srgb_changes_nothing() -> None:
    icc = make_rgb_profile(D65, SRGB, SRGB_PARAMETERS)
    assert np.abs(through_lcms(icc, LEVELS).astype(int) - LEVELS).max() <= 1
    assert read_space(icc) == "RGB"
    assert not is_linear(icc)


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
def test_a_wide_gamut_is_that_of_another_maker_of_profiles(gamma: float) -> None:
    ours = through_lcms(make_rgb_profile(D65, P3, (gamma,)), LEVELS)
    flat = [value for x, y in P3 for value in (x, y, 1.0)]
    theirs = imagecodecs.cms_profile("rgb", whitepoint=[*D65, 1.0], primaries=flat, gamma=gamma)
    assert np.abs(ours.astype(int) - through_lcms(theirs, LEVELS)).max() <= 1
    assert is_linear(make_rgb_profile(D65, P3, (gamma,))) == is_linear(theirs) == (gamma == 1.0)


def test_grey_follows_its_curve() -> None:
    curve = read_curve(make_grey_profile((1.8,)))
    assert curve is not None
    assert curve(np.array([0.0, 0.5, 1.0])) == pytest.approx([0, 0.5**1.8, 1], abs=1e-4)
    assert read_space(make_grey_profile((1.8,))) == "GRAY"


def test_the_curves_of_a_profile_that_lcms_made_are_read() -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    curve = read_curve(icc)
    assert curve is not None
    assert curve(np.array([0.02, 0.5])) == pytest.approx([0.02 / 12.92, ((0.5 + 0.055) / 1.055) ** 2.4], abs=1e-3)


def test_a_linear_profile_gets_srgbs_curve_and_keeps_its_primaries() -> None:
    wide = with_srgb_curve(make_rgb_profile(D65, P3, (1.0,)))
    assert wide is not None
    wanted = make_rgb_profile(D65, P3, SRGB_PARAMETERS)
    assert np.abs(through_lcms(wide, LEVELS).astype(int) - through_lcms(wanted, LEVELS)).max() <= 1


@pytest.mark.parametrize("icc", [b"", b"profile" * 40, make_grey_profile((2.2,))[:140]])
def test_what_is_no_profile_has_no_space(icc: bytes) -> None:
    assert read_space(icc) == ""


def test_primaries_that_are_no_colours_are_refused() -> None:
    with pytest.raises(ValueError, match="no colours"):
        make_rgb_profile(D65, np.array(((0.3, 0.3), (0.3, 0.3), (0.3, 0.3))), (2.2,))
