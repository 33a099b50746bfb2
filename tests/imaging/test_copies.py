"""Copies of photographs are found however they are stored, and different photographs are told apart."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data

from adaptsr_cli.imaging.copies import Copy, find_copies
from adaptsr_cli.imaging.sketch import ORIENTATIONS, Orientation, Sketch, make_sketch, reduce_photograph

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "motorcycle_left")


AS_IT_IS = Orientation()


def photograph(name: str) -> np.ndarray:
    image = data.stereo_motorcycle()[0] if name == "motorcycle_left" else getattr(data, name)()
    return np.ascontiguousarray(image[:400, :500])


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    return [photograph(name) for name in NAMES[:4]]


@pytest.fixture(scope="module")
def sketches(photographs: list[np.ndarray]) -> list[Sketch]:
    return list(map(make_sketch, photographs))


def search(images: list[np.ndarray], sketches: list[Sketch]) -> list[Copy]:
    return list(find_copies(sketches, lambda place: reduce_photograph(images[place])))


def as_jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=40)
    return np.asarray(Image.open(buffer))


def rescaled(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((image.shape[1] * 2 // 3, image.shape[0] * 2 // 3)))


@pytest.mark.parametrize(
    ("change", "orientation", "share"),
    [
        (as_jpeg, AS_IT_IS, 1.0),
        (rescaled, AS_IT_IS, 1.0),
        (lambda image: image[:, ::-1], Orientation(left_right=True), 1.0),
        (lambda image: image[::-1], Orientation(up_down=True), 1.0),
        (lambda image: image[::-1, ::-1], Orientation(up_down=True, left_right=True), 1.0),
        (lambda image: image.swapaxes(0, 1), Orientation(transposed=True), 1.0),
        (lambda image: np.rot90(image), Orientation(transposed=True, left_right=True), 1.0),
        (lambda image: np.rot90(image, -1), Orientation(transposed=True, up_down=True), 1.0),
        (lambda image: np.rot90(image[::-1]), Orientation(True, True, True), 1.0),
        (lambda image: (image * 0.6 + 30).astype(np.uint8), AS_IT_IS, 1.0),
        (lambda image: image[90:330, 120:420], AS_IT_IS, 1.0),
        (lambda image: rescaled(image[20:300, 40:360]), AS_IT_IS, 1.0),
        (lambda image: as_jpeg(image[60:340, 100:460, :][:, ::-1]), Orientation(left_right=True), 1.0),
        (
            lambda image: as_jpeg(np.rot90(image[60:340, 100:460, :])),
            Orientation(transposed=True, left_right=True),
            1.0,
        ),
    ],
)
def test_copies_are_found(
    change: Callable[[np.ndarray], np.ndarray],
    orientation: Orientation,
    share: float,
    photographs: list[np.ndarray],
    sketches: list[Sketch],
) -> None:
    planted = np.ascontiguousarray(change(photographs[0]))
    found = search([*photographs, planted], [*sketches, make_sketch(planted)])
    assert [(copy.first, copy.second, copy.orientation) for copy in found] == [(0, 4, orientation)]
    assert found[0].share == pytest.approx(share, abs=0.06)
    assert found[0].match > 0.7


def test_crops_that_overlap_are_found_and_those_that_do_not_are_not(photographs: list[np.ndarray]) -> None:
    whole = photographs[0]
    crops = [whole[:, :300], whole[:, 100:400], whole[:200, 300:], photographs[1]]
    found = search(crops, list(map(make_sketch, crops)))
    pairs = {(copy.first, copy.second): copy.share for copy in found}
    assert set(pairs) == {(0, 1), (1, 2)}
    assert pairs[0, 1] == pytest.approx(2 / 3, abs=0.05)


def test_different_photographs_are_no_copies(photographs: list[np.ndarray], sketches: list[Sketch]) -> None:
    rng = np.random.default_rng(0)
    flat = [np.full((200, 300, 3), level, np.uint8) for level in (20, 20)]
    noise = [rng.integers(0, 256, (200, 300, 3), dtype=np.uint8) for _ in range(2)]
    sky = [np.repeat(np.linspace(90 + n, 200, 300, dtype=np.uint8)[None, :, None], 200, 0).repeat(3, 2) for n in (0, 9)]
    images = [*photographs, *flat, *noise, *sky]
    assert search(images, list(map(make_sketch, images))) == []


def test_only_wanted_pairs_are_looked_at(photographs: list[np.ndarray], sketches: list[Sketch]) -> None:
    def read(place: int) -> np.ndarray:
        raise AssertionError("not wanted")

    assert list(find_copies([*sketches, *sketches], read, lambda first, second: False)) == []
    assert list(find_copies(sketches[:1], read)) == []


def test_many_copies_of_one_picture_are_all_linked(photographs: list[np.ndarray]) -> None:
    whole = make_sketch(photographs[0])
    sketch = replace(whole, places=whole.places[:30], codes=whole.codes[:30])
    grey, linked = reduce_photograph(photographs[0]), {0}
    for copy in find_copies([sketch] * 70, lambda place: grey, lambda first, second: second not in linked):
        assert copy.first in linked
        linked.add(copy.second)
    assert len(linked) == 70


def test_sketches_are_kept_as_bytes(sketches: list[Sketch]) -> None:
    again = Sketch.from_bytes(sketches[0].to_bytes())
    assert again is not None
    assert (again.codes == sketches[0].codes).all()
    assert np.abs(again.places - sketches[0].places).max() < 0.01
    assert Sketch.from_bytes(sketches[0].to_bytes()[:-1]) is None
    assert Sketch.from_bytes(b"") is None


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_an_oriented_sketch_is_that_of_the_photograph_that_lies_so(
    orientation: Orientation, photographs: list[np.ndarray], sketches: list[Sketch]
) -> None:
    channels = [orientation.of_image(photographs[0][..., channel]) for channel in range(3)]
    own, made = make_sketch(np.stack(channels, axis=2)), sketches[0].oriented(orientation)
    assert (own.height_px, own.width_px) == (made.height_px, made.width_px)
    assert int(np.bitwise_count(own.codes[:1] ^ made.codes[:1])[0]) <= 2
    # Octaves are thinned from the upper left corner on, so not all features are the same ones.
    assert share_found(own, made) > 0.5
    assert all(share_found(own, sketches[0].oriented(other)) < 0.1 for other in ORIENTATIONS if other != orientation)


def share_found(one: Sketch, two: Sketch) -> float:
    """Share of the strongest features of the one that the other has at the same places."""
    near = np.abs(one.places[1:40, None] - two.places[None]).max(axis=2) < 1.0
    alike = np.bitwise_count(one.codes[1:40, None] ^ two.codes[None]) <= 8
    return float((near & alike).any(axis=1).mean())


def test_orientations_that_are_their_own_inverse(photographs: list[np.ndarray]) -> None:
    grey = reduce_photograph(photographs[1])
    for orientation in ORIENTATIONS:
        again = orientation.of_image(orientation.of_image(grey))
        assert orientation.is_own_inverse == (again.shape == grey.shape and bool((again == grey).all()))
    assert [(o.is_mirrored, o.is_turned) for o in ORIENTATIONS].count((True, False)) == 4
    assert [(o.is_mirrored, o.is_turned) for o in ORIENTATIONS].count((False, True)) == 3
