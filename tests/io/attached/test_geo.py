"""Georeference of a larger picture covers the same ground."""

from __future__ import annotations

import numpy as np
import pytest

from adaptsr_cli.io.attached.geo import GeoTag, resize_geo

SCALE = (33550, 12, 3, (10.0, 10.0, 0.0))
TIE = (33922, 12, 6, (5.0, 3.0, 0.0, 500_000.0, 4_600_000.0, 0.0))
MATRIX = (34264, 12, 16, (9.0, 1.0, 0.0, 5e5, 2.0, -10.0, 0.0, 4.6e6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))


def keys(kind: int) -> GeoTag:
    return (34735, 3, 8, (1, 1, 0, 1, 1025, 0, 1, kind))


def world(tags: tuple[GeoTag, ...], column: float, row: float, *, point: bool) -> tuple[float, float]:
    """Where a place in the picture, counted from the corner of the first pixel, lies in the world."""
    values = {tag: value for tag, _, _, value in tags}
    if point:
        column, row = column - 0.5, row - 0.5
    if 34264 in values:
        matrix = np.array(values[34264]).reshape(4, 4)
        east, north, *_ = matrix @ [column, row, 0, 1]
        return float(east), float(north)
    across, down, _ = values[33550]
    left, top, _, east, north, _ = values[33922]
    return east + (column - left) * across, north - (row - top) * down


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("model", [(SCALE, TIE), (MATRIX,)])
@pytest.mark.parametrize("factors", [(4.0, 4.0), (2.5, 3.0), (0.5, 0.25)])
def test_every_place_stays_where_it_is(kind: int, model: tuple[GeoTag, ...], factors: tuple[float, float]) -> None:
    tags = (*model, keys(kind))
    larger = resize_geo(tags, *factors)
    for column, row in ((0, 0), (7, 2), (100, 50.5)):
        before = world(tags, column, row, point=kind == 2)
        after = world(larger, column * factors[0], row * factors[1], point=kind == 2)
        assert after == pytest.approx(before, abs=1e-6)


def test_rpc_counts_from_the_middle_of_the_first_pixel() -> None:
    numbers = [0.0, 0.0, 100.0, 200.0, 1.0, 2.0, 3.0, 50.0, 60.0, *range(83)]
    ((_, _, _, larger),) = resize_geo([(50844, 12, 92, tuple(numbers))], 4, 2)
    assert larger[2:4] == ((100.5 * 2) - 0.5, (200.5 * 4) - 0.5)
    assert larger[7:9] == (100.0, 240.0)
    assert larger[9:] == tuple(numbers[9:])


def test_other_tags_stay() -> None:
    tags: tuple[GeoTag, ...] = ((42113, 2, 2, b"7\0"), (33550, 12, 1, (1.0,)), keys(1))
    assert resize_geo(tags, 2, 2) == tags
