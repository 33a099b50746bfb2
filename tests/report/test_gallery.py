"""Which images and details the report shows, and how large they may be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from adaptsr_cli.io.images import decode_rgb
from adaptsr_cli.report.gallery import MOST_IMAGES, Shortlist, Specimen, encode, select


def offer(shortlist: Shortlist, index: int, merit: float | None, shape: tuple[int, int] = (8, 12)) -> None:
    height, width = shape
    lr = np.full((height, width, 3), index % 250, np.uint8)
    hr = lr.repeat(4, axis=0).repeat(4, axis=1)
    shortlist.offer(index, merit, lr, hr, {"one": hr, "two": hr // 2})


def indices(specimens: Sequence[Specimen]) -> list[int]:
    return [specimen.index for specimen in specimens]


def test_the_ends_are_kept_whatever_the_order() -> None:
    merits = np.random.default_rng(0).permutation(60) / 10
    shortlist = Shortlist(2)
    for index, merit in enumerate(merits):
        offer(shortlist, index, float(merit))
        assert len(shortlist.specimens) <= MOST_IMAGES
    order = sorted(range(60), key=lambda index: -merits[index])
    assert indices(shortlist.specimens) == [*order[:6], *order[-6:]]


def test_processes_together_keep_what_one_would() -> None:
    merits = [float(value) for value in np.random.default_rng(1).integers(0, 9, 50)]  # many are equal
    alone, shares = Shortlist(2), [Shortlist(2) for _ in range(3)]
    for index, merit in enumerate(merits):
        offer(alone, index, merit)
        offer(shares[index % 3], index, merit)
    together = select([share.specimens for share in shares], alone.each_end)
    assert indices(together) == indices(alone.specimens)


def test_many_models_mean_fewer_images() -> None:
    shortlist = Shortlist(30)
    for index in range(20):
        offer(shortlist, index, float(index))
    assert indices(shortlist.specimens) == [19, 0]


def test_without_merit_images_come_as_they_are() -> None:
    shortlist = Shortlist(1)
    for index in range(30):
        offer(shortlist, index, None)
    assert indices(shortlist.specimens) == [0, 1, 2, 3, 4, 5, 24, 25, 26, 27, 28, 29]


def test_outputs_of_different_sizes_are_not_shown() -> None:
    shortlist = Shortlist(2)
    image = np.zeros((32, 32, 3), np.uint8)
    shortlist.offer(0, 1.0, image[:8, :8], None, {"one": image, "two": image[:31]})
    assert shortlist.specimens == []


def test_the_detail_is_where_the_models_differ_most() -> None:
    lr = np.zeros((200, 300, 3), np.uint8)
    one = np.zeros((800, 1200, 3), np.uint8)
    two = one.copy()
    two[500:560, 900:1000] = 200
    shortlist = Shortlist(2)
    shortlist.offer(0, 1.0, lr, one, {"one": one, "two": two})
    (found,) = shortlist.specimens
    assert list(found.layers) == ["LR, bicubic", "one", "two", "HR"]
    assert all(pixels.shape == (480, 480, 3) and pixels.base is None for pixels in found.layers.values())
    assert (found.layers["two"] == 200).sum() == 60 * 100 * 3
    assert found.box.left_px % 4 == found.box.top_px % 4 == 0
    assert found.context is not None
    assert found.context.shape == (107, 160, 3)


def test_small_images_are_shown_whole() -> None:
    shortlist = Shortlist(1)
    offer(shortlist, 0, 1.0, (8, 8))
    (found,) = shortlist.specimens
    assert found.context is None
    assert found.box.side_px == 32


@pytest.mark.parametrize("name", ["HR", "LR, bicubic"])
def test_a_model_may_have_the_name_of_another_layer(name: str) -> None:
    shortlist = Shortlist(1)
    image = np.zeros((32, 32, 3), np.uint8)
    shortlist.offer(0, 1.0, image[:8, :8], image + 9, {name: image + 5})
    layers = shortlist.specimens[0].layers
    assert len(layers) == 3
    assert layers[name].max() == 5


def test_quality_gives_way_first_then_images_from_the_middle() -> None:
    shortlist = Shortlist(2)
    for index in range(6):
        noise = np.random.default_rng(index).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        shortlist.offer(index, float(-index), noise[::4, ::4], noise, {"one": noise, "two": noise[::-1]})
    specimens = shortlist.specimens
    best, everything = encode(specimens, 10_000_000)
    assert (best, len(everything)) == (95, 6)
    assert decode_rgb(everything[0].layers["one"]).shape == (96, 96, 3)
    size = sum(entry.size_bytes for entry in everything)
    lower, still = encode(specimens, size * 7 // 10)
    assert lower < 95
    assert len(still) == 6
    lowest, fewer = encode(specimens, size // 4)
    assert lowest == 70
    assert 0 < len(fewer) < 6
    assert {0, 5} <= {entry.index for entry in fewer}
    assert encode(specimens, 0)[1] == []
