"""Which parts of held-out images are scored, and how their scores become that of the image."""

from __future__ import annotations

import numpy as np
import pytest

from adaptsr_cli.errors import NotFiniteError
from adaptsr_cli.metrics.protocol import PAPER, score_images
from adaptsr_cli.training.validation import MAX_LR_PX, Validation, Validator

SCALE = 2


class Pairs:
    """Pairs whose output by `enlarge` is wrong by some grey levels, other ones in each quarter of the image."""

    def __init__(self, *sizes: tuple[int, int]) -> None:
        rng = np.random.default_rng(0)
        self._pairs = []
        for height, width in sizes:
            lr = rng.integers(40, 200, (height, width, 3), dtype=np.uint8)
            hr = enlarge(lr)
            for number, (rows, columns) in enumerate(
                (rows, columns)
                for rows in (slice(0, height), slice(height, None))
                for columns in (slice(0, width), slice(width, None))
            ):
                hr[rows, columns] += np.uint8(2 + 8 * number)
            self._pairs.append((lr, hr))

    def __len__(self) -> int:
        return len(self._pairs)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._pairs[index]


def enlarge(lr: np.ndarray) -> np.ndarray:
    """One image or several at a time."""
    return lr.repeat(SCALE, axis=-3).repeat(SCALE, axis=-2)


def score(sr: np.ndarray, hr: np.ndarray) -> float:
    return score_images(sr, hr, protocol=PAPER, scale=SCALE, metrics=("psnr",))["psnr_y_db"]


@pytest.mark.parametrize("size", [(24, 40), (128, 128)])
def test_a_small_image_is_scored_whole(size: tuple[int, int]) -> None:
    pairs = Pairs(size)
    lr, hr = pairs.read(0)
    assert Validator(pairs, SCALE).score(enlarge).psnr_y_db == score(enlarge(lr), hr)


@pytest.mark.parametrize("size", [(400, 320), (256, 256), (129, 508), (70, 1300)])
def test_pieces_of_a_large_image_tell_the_score_of_all_of_it(size: tuple[int, int]) -> None:
    pairs = Pairs(size)
    found, (*batches, shown) = score_and_watch(pairs)
    lr, hr = pairs.read(0)
    assert found.psnr_y_db == pytest.approx(score(enlarge(lr), hr), abs=0.1)
    assert sum(count for count, _ in batches) == 16
    assert 0.9 * MAX_LR_PX < sum(count * pixels for count, pixels in batches) <= MAX_LR_PX
    assert max(count * pixels for count, pixels in batches) <= 128 * 128
    assert found.sample.shape[0] * found.sample.shape[1] == 3 * shown[1] * SCALE**2


def test_all_images_together_have_as_many_pixels_as_one() -> None:
    of_one, of_six = (
        sum(count * pixels for count, pixels in score_and_watch(Pairs(*[(300, 300)] * images))[1][: -min(images, 3)])
        for images in (1, 6)
    )
    assert 0.9 * of_one < of_six <= MAX_LR_PX


def score_and_watch(pairs: Pairs) -> tuple[Validation, list[tuple[int, int]]]:
    """The score, and of each batch that was upscaled how many parts it had, and how many LR pixels each of these."""
    seen: list[tuple[int, int]] = []

    def upscale(lr: np.ndarray) -> np.ndarray:
        seen.append((len(lr), lr.shape[1] * lr.shape[2]))
        return enlarge(lr)

    return Validator(pairs, SCALE).score(upscale), seen


@pytest.mark.parametrize(("held_out", "trained_on", "pieces"), [(1, 9, 16), (3, 2, 8), (4, 9, None)])
def test_where_few_images_are_held_out_some_that_are_trained_on_are_scored_too(
    held_out: int, trained_on: int, pieces: int | None
) -> None:
    pairs, training = Pairs(*[(300, 300)] * held_out), Pairs(*[(300, 300)] * trained_on)
    validator = Validator(pairs, SCALE, training=training)
    assert validator.score(enlarge).psnr_y_db == Validator(pairs, SCALE).score(enlarge).psnr_y_db
    assert validator.has_few == (pieces is not None)
    seen: list[tuple[int, ...]] = []

    def upscale(lr: np.ndarray) -> np.ndarray:
        seen.append(lr.shape[:3])
        return enlarge(lr)

    found = validator.joint_psnr_y_db(upscale, 20.0)
    if pieces is None:
        assert found is None
        return
    assert sum(count for count, _, _ in seen) == pieces
    assert sum(count * height * width for count, height, width in seen) == pytest.approx(16_384, rel=0.05)
    training_db = np.mean([score(enlarge(lr), hr) for lr, hr in map(training.read, range(2))])
    count = min(trained_on, 4)
    assert found == pytest.approx((held_out * 20 + count * training_db) / (held_out + count), abs=0.1)


@pytest.mark.parametrize("grey", [0, 200])
def test_a_flat_image_does_not_count_beside_others(grey: int) -> None:
    pairs, alone = Pairs((40, 40), (60, 60)), Pairs((40, 40))
    flat = np.full((60, 60, 3), grey, np.uint8)
    pairs._pairs[1] = (flat, enlarge(flat))
    validator = Validator(pairs, SCALE)
    assert (len(validator), validator.flat_images, validator.shows_nothing) == (1, 1, False)
    assert validator.score(enlarge).psnr_y_db == Validator(alone, SCALE).score(enlarge).psnr_y_db
    with_flat, without = (
        Validator(alone, SCALE, training=training).joint_psnr_y_db(enlarge, 20.0) for training in (pairs, alone)
    )
    assert with_flat == without
    pairs._pairs[0] = pairs._pairs[1]
    of_nothing = Validator(pairs, SCALE)  # where there is nothing else, it counts
    assert (len(of_nothing), of_nothing.flat_images, of_nothing.shows_nothing) == (2, 2, True)
    assert of_nothing.score(enlarge).psnr_y_db == score(enlarge(flat), enlarge(flat))


def test_a_result_that_is_not_finite_counts_as_black() -> None:
    def upscale(lr: np.ndarray) -> np.ndarray:
        raise NotFiniteError("not finite")

    pairs = Pairs((40, 40))
    _, hr = pairs.read(0)
    with pytest.raises(NotFiniteError):  # of a network that is not trained yet
        Validator(pairs, SCALE).score(upscale)
    found = Validator(pairs, SCALE).score(upscale, or_black=True)
    assert found.psnr_y_db == score(np.zeros_like(hr), hr)
    assert found.sample.shape == (80, 240, 3)


def test_samples_are_of_three_images() -> None:
    found = Validator(Pairs(*[(20, 20)] * 5, (200, 200)), SCALE).score(enlarge)
    assert found.sample.shape == (3 * 20 * SCALE, 3 * 20 * SCALE, 3)


def test_a_perfect_image_has_the_score_that_perfect_pieces_have() -> None:
    pairs = Pairs((200, 200))
    lr, _ = pairs.read(0)
    pairs.read = lambda index: (lr, enlarge(lr))  # type: ignore[method-assign]
    assert Validator(pairs, SCALE).score(enlarge).psnr_y_db == pytest.approx(score(enlarge(lr), enlarge(lr)))
