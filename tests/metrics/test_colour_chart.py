"""The chart counts colours that break, and no ringing, noise or change of tone."""

from __future__ import annotations

import numpy as np
import pytest

from adaptsr_cli.io.images import resize_bicubic
from adaptsr_cli.metrics.colour_chart import COLOURS, count_broken, make_chart


def enlarge(scale: int) -> np.ndarray:
    chart = make_chart()
    return resize_bicubic(chart, chart.shape[1] * scale, chart.shape[0] * scale)


def test_every_mixture_of_four_levels_has_a_square() -> None:
    chart = make_chart()
    assert (chart.shape, chart.dtype) == ((192, 192, 3), np.uint8)
    centres = chart[12::24, 12::24].reshape(-1, 3)
    assert len({tuple(colour) for colour in centres.tolist()}) == COLOURS == 64
    assert set(centres.ravel().tolist()) == {0, 85, 170, 255}


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_faithful_enlargement_breaks_none(scale: int) -> None:
    sr = enlarge(scale)
    assert count_broken(sr, scale) == 0
    noise = np.random.default_rng(0).normal(0, 4, sr.shape)
    darker = np.clip(0.85 * sr + noise, 0, 255).astype(np.uint8)
    assert count_broken(darker, scale) == 0


@pytest.mark.parametrize("scale", [2, 4])
def test_a_spot_inside_a_square_breaks_its_colour_and_one_at_the_edge_does_not(scale: int) -> None:
    sr, side = enlarge(scale), 24 * scale
    spot = sr.copy()
    # squares (2, 5) and (7, 0); one channel is enough
    for row, column in ((2, 5), (7, 0)):
        pixel = spot[row * side + side // 2, column * side + side // 2]
        pixel[1] = 0 if pixel[1] > 100 else 255
    assert count_broken(spot, scale) == 2
    ringing = sr.copy()
    ringing[3 * side + 1] = 255 - ringing[3 * side + 1]
    assert count_broken(ringing, scale) == 0


def test_a_wrong_colour_all_over_breaks_all() -> None:
    assert count_broken(255 - enlarge(2), 2) == 64
    assert count_broken(np.full_like(enlarge(2), 128), 2) > 32
