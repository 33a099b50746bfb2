"""Which images and details the report shows, and how large they may be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from adaptsr_cli.io.images import decode_rgb
from adaptsr_cli.report.gallery import MAX_IMAGES, BestAndWorst, ImageDetail, encode, select


def offer(best_and_worst: BestAndWorst, index: int, gain: float | None, shape: tuple[int, int] = (8, 12)) -> None:
    height, width = shape
    lr = np.full((height, width, 3), index % 250, np.uint8)
    hr = lr.repeat(4, axis=0).repeat(4, axis=1)
    best_and_worst.offer(index, gain, lr, hr, {"one": hr, "two": hr // 2})


def indices(details: Sequence[ImageDetail]) -> list[int]:
    return [detail.index for detail in details]


def test_the_ends_are_kept_whatever_the_order() -> None:
    gains = np.random.default_rng(0).permutation(60) / 10
    best_and_worst = BestAndWorst(2)
    for index, gain in enumerate(gains):
        offer(best_and_worst, index, float(gain))
        assert len(best_and_worst.details) <= MAX_IMAGES
    order = sorted(range(60), key=lambda index: -gains[index])
    assert indices(best_and_worst.details) == [*order[:6], *order[-6:]]


def test_processes_together_keep_what_one_would() -> None:
    gains = [float(value) for value in np.random.default_rng(1).integers(0, 9, 50)]  # many are equal
    alone, shares = BestAndWorst(2), [BestAndWorst(2) for _ in range(3)]
    for index, gain in enumerate(gains):
        offer(alone, index, gain)
        offer(shares[index % 3], index, gain)
    together = select([share.details for share in shares], alone.each_end)
    assert indices(together) == indices(alone.details)


def test_many_models_mean_fewer_images() -> None:
    best_and_worst = BestAndWorst(30)
    for index in range(20):
        offer(best_and_worst, index, float(index))
    assert indices(best_and_worst.details) == [19, 0]


def test_without_merit_images_come_as_they_are() -> None:
    best_and_worst = BestAndWorst(1)
    for index in range(30):
        offer(best_and_worst, index, None)
    assert indices(best_and_worst.details) == [0, 1, 2, 3, 4, 5, 24, 25, 26, 27, 28, 29]


def test_outputs_of_different_sizes_are_not_shown() -> None:
    best_and_worst = BestAndWorst(2)
    image = np.zeros((32, 32, 3), np.uint8)
    best_and_worst.offer(0, 1.0, image[:8, :8], None, {"one": image, "two": image[:31]})
    assert best_and_worst.details == []


def test_the_detail_is_where_the_models_differ_most() -> None:
    lr = np.zeros((200, 300, 3), np.uint8)
    one = np.zeros((800, 1200, 3), np.uint8)
    two = one.copy()
    two[500:560, 900:1000] = 200
    best_and_worst = BestAndWorst(2)
    best_and_worst.offer(0, 1.0, lr, one, {"one": one, "two": two})
    (found,) = best_and_worst.details
    assert list(found.layers) == ["LR, bicubic", "one", "two", "HR"]
    assert all(pixels.shape == (480, 480, 3) and pixels.base is None for pixels in found.layers.values())
    assert (found.layers["two"] == 200).sum() == 60 * 100 * 3
    assert found.box.left_px % 4 == found.box.top_px % 4 == 0
    assert found.context is not None
    assert found.context.shape == (107, 160, 3)


def test_small_images_are_shown_whole() -> None:
    best_and_worst = BestAndWorst(1)
    offer(best_and_worst, 0, 1.0, (8, 8))
    (found,) = best_and_worst.details
    assert found.context is None
    assert found.box.side_px == 32


@pytest.mark.parametrize("name", ["HR", "LR, bicubic"])
def test_a_model_may_have_the_name_of_another_layer(name: str) -> None:
    best_and_worst = BestAndWorst(1)
    image = np.zeros((32, 32, 3), np.uint8)
    best_and_worst.offer(0, 1.0, image[:8, :8], image + 9, {name: image + 5})
    layers = best_and_worst.details[0].layers
    assert len(layers) == 3
    assert layers[name].max() == 5


def test_quality_gives_way_first_then_images_from_the_middle() -> None:
    best_and_worst = BestAndWorst(2)
    for index in range(6):
        noise = np.random.default_rng(index).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        best_and_worst.offer(index, float(-index), noise[::4, ::4], noise, {"one": noise, "two": noise[::-1]})
    details = best_and_worst.details
    best, everything = encode(details, 10_000_000)
    assert (best, len(everything)) == (95, 6)
    assert decode_rgb(everything[0].layers["one"]).shape == (96, 96, 3)
    size = sum(entry.size_bytes for entry in everything)
    lower, still = encode(details, size * 7 // 10)
    assert lower < 95
    assert len(still) == 6
    lowest, fewer = encode(details, size // 4)
    assert lowest == 70
    assert 0 < len(fewer) < 6
    assert {0, 5} <= {entry.index for entry in fewer}
    assert encode(details, 0)[1] == []
