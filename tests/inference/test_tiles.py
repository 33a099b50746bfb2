"""Tile plans: coverage, alignment, context, and weights that sum to one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptsr_cli.inference.tiles import RAMP_PX, plan_axis, plan_tiles


@settings(max_examples=300, deadline=None)
@given(
    length=st.integers(1, 700),
    tile_px=st.integers(0, 200),
    pad_px=st.integers(0, 60),
    multiple_px=st.sampled_from([1, 2, 3, 8, 16, 64]),
)
def test_tiles_of_an_axis_are_aligned_equal_and_have_their_context(
    length: int, tile_px: int, pad_px: int, multiple_px: int
) -> None:
    strips = plan_axis(length, tile_px=tile_px, pad_px=pad_px, multiple_px=multiple_px).strips
    assert strips[0].start == strips[0].keep_start == 0
    assert strips[-1].stop == strips[-1].keep_stop == length
    assert len({strip.size for strip in strips}) == 1
    assert all(strip.start % multiple_px == 0 for strip in strips)
    assert all(strip.keep_start - strip.start >= pad_px for strip in strips[1:])
    assert all(strip.stop - strip.keep_stop >= pad_px for strip in strips[:-1])
    if len(strips) > 1:
        assert strips[0].size <= max(tile_px, multiple_px) + 2 * pad_px + RAMP_PX + 2 * multiple_px
        assert (length - strips[0].size) % multiple_px == 0  # the last tile meets the border as the image does


@settings(max_examples=200, deadline=None)
@given(
    length=st.integers(1, 300),
    tile_px=st.integers(0, 60),
    pad_px=st.integers(0, 20),
    multiple_px=st.sampled_from([1, 3, 8]),
    scale=st.sampled_from([1, 2, 3, 4]),
)
def test_weights_sum_to_one_and_are_never_negative(
    length: int, tile_px: int, pad_px: int, multiple_px: int, scale: int
) -> None:
    axis = plan_axis(length, tile_px=tile_px, pad_px=pad_px, multiple_px=multiple_px)
    total = np.zeros(length * scale)
    for index, strip in enumerate(axis.strips):
        weights = axis.weights(index, scale)
        assert weights.min() >= -1e-7
        total[strip.keep_start * scale : strip.keep_stop * scale] += weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_neighbours_fade_over_the_ramp_by_equal_steps() -> None:
    axis = plan_axis(100, tile_px=40, pad_px=4)
    falling = axis.weights(0, 2)[-2 * RAMP_PX :]
    rising = axis.weights(1, 2)[: 2 * RAMP_PX]
    np.testing.assert_allclose(np.diff(rising), 1 / (2 * RAMP_PX), atol=1e-6)
    np.testing.assert_allclose(falling + rising, 1, atol=1e-6)


def test_a_tile_over_everything_is_the_whole_image() -> None:
    for tile_px in (0, 50, 1000):
        plan = plan_tiles(50, 30, tile_px=tile_px, pad_px=8)
        assert len(plan.tiles) == 1
        assert (plan.height_px, plan.width_px) == (50, 30)
        assert all((axis.weights(0, 2) == 1).all() for axis in (plan.vertical, plan.horizontal))


def test_tiles_are_no_larger_than_their_number_needs() -> None:
    plan = plan_tiles(300, 300, tile_px=270, pad_px=10)
    assert len(plan.tiles) == 4
    assert plan.width_px == 300 // 2 + (2 * 10 + RAMP_PX) // 2


@pytest.mark.parametrize(("height", "width", "rows", "columns"), [(200, 40, 4, 1), (40, 200, 1, 4)])
def test_rows_and_columns_are_planned_apart(height: int, width: int, rows: int, columns: int) -> None:
    plan = plan_tiles(height, width, tile_px=50, pad_px=0)
    assert len(plan.vertical.strips) == rows
    assert len(plan.horizontal.strips) == columns
    assert [(tile.row, tile.column) for tile in plan.tiles] == [(r, c) for r in range(rows) for c in range(columns)]
