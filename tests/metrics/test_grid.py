"""The measure of an upsampler's grid, on flat and textured pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.errors import DataError
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.metrics.grid import measure_grid


def picture(
    flat_levels: float = 2, textured_levels: float = 20, grid_levels: float = 0, period_px: int = 4
) -> np.ndarray:
    """Left half flat, right half textured, with one brighter pixel in every cell of the grid."""
    rng = np.random.default_rng(0)
    values = 128 + rng.standard_normal((256, 512)) * np.repeat([2, 20], 256)
    values[::period_px, ::period_px] += grid_levels
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


@pytest.mark.parametrize("period_px", [2, 3, 4])
def test_without_a_grid_it_is_one(period_px: int) -> None:
    power = measure_grid(picture(), period_px)
    assert power.flat == pytest.approx(1, abs=0.3)
    assert power.textured == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("period_px", [2, 3, 4])
def test_its_amplitude_is_that_of_the_pattern(period_px: int) -> None:
    cell = np.zeros((period_px, period_px))
    cell[0, 0] = 8
    power = measure_grid(picture(grid_levels=8, period_px=period_px), period_px)
    luma_of_a_level = 219 / 255  # of BT.601, which has 16 to 235
    assert power.flat_levels == pytest.approx(luma_of_a_level * cell.std(), rel=0.05)
    assert measure_grid(picture(), period_px).flat_levels < 0.2


@pytest.mark.parametrize("period_px", [3, 4])
def test_a_faint_grid_is_found_in_the_flat_half(period_px: int) -> None:
    power = measure_grid(picture(grid_levels=3, period_px=period_px), period_px)
    assert power.flat > 2
    assert power.textured == pytest.approx(1, abs=0.3)
    assert power.mean == pytest.approx((power.flat + power.textured) / 2)


def test_a_grid_of_another_period_is_none() -> None:
    assert measure_grid(picture(grid_levels=3, period_px=5), 4).flat == pytest.approx(1, abs=0.3)


def test_it_does_not_matter_where_the_grid_begins() -> None:
    gridded = picture(grid_levels=3)
    assert measure_grid(gridded[1:, 3:], 4).flat == pytest.approx(measure_grid(gridded, 4).flat, rel=0.2)


def test_a_picture_of_one_colour_has_none() -> None:
    power = measure_grid(np.full((128, 128, 3), 7, np.uint8), 4)
    assert (power.flat, power.textured) == pytest.approx((1, 1))


def test_too_small_a_picture_is_refused() -> None:
    with pytest.raises(DataError, match="127x63 px is too small for its grid"):
        measure_grid(np.zeros((63, 127, 3), np.uint8), 4)


def test_photographs_have_none(shared: Path) -> None:
    paths = sorted((shared / "data" / "train_hr").iterdir())[:20]
    means = [measure_grid(read_rgb(path), 4).mean for path in paths]
    assert np.mean(means) == pytest.approx(1, abs=0.06)
