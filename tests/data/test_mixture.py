from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.data.layouts import Pair, PairSet
from adaptsr_cli.data.mixture import Mixture, balance, count_draws, describe_mix, label_sets
from adaptsr_cli.data.pairs import PairReader
from adaptsr_cli.imaging.degradation_presets import DEGRADATIONS


def make_set(root: str, count: int, weight: float | None = None, *, photos: bool = False) -> PairSet:
    """A set whose files do not exist: drawing does not read."""
    pairs = tuple(Pair(str(index), None if photos else Path(f"{index}"), Path(f"{index}")) for index in range(count))
    return PairSet(Path(root), "pairs", pairs, None if photos else 4, "all", weight=weight)


def make_mixture(*sets: PairSet) -> Mixture:
    return Mixture([PairReader(pairs, scale=4) for pairs in sets], sets)


@pytest.mark.parametrize(
    ("weights", "sizes", "draws_per_block"),
    [
        ((None, None), (200, 34), (200, 34)),
        ((None, 0.3), (200, 34), (10, 3)),
        ((0.5, 0.5), (200, 34), (1, 1)),
        ((2.0, 1.0, None), (5, 5, 5), (2, 1, 1)),
        ((0.333, 1.0), (5, 5), (333, 1000)),
        ((0.1, 0.2, 0.7), (1, 1, 1), (1, 2, 7)),
        ((0.001, 1000.0), (5, 5), (1, 1_000_000)),
        ((None,), (7,), (7,)),
        ((3.0,), (7,), (1,)),
    ],
)
def test_draws_are_exact(
    weights: tuple[float | None, ...], sizes: tuple[int, ...], draws_per_block: tuple[int, ...]
) -> None:
    assert count_draws(weights, sizes) == draws_per_block


def test_without_weights_every_image_comes_once_in_a_round_over_all() -> None:
    mixture = make_mixture(make_set("a", 5), make_set("b", 3))
    rounds = [[mixture.draw(7, 8 * round_ + place) for place in range(8)] for round_ in range(6)]
    assert all(sorted(drawn) == list(range(8)) for drawn in rounds)
    assert len({tuple(drawn) for drawn in rounds}) > 1


def test_weights_are_shares_of_the_crops_and_rounds_are_whole() -> None:
    mixture = make_mixture(make_set("a", 7), make_set("b", 3, 0.3))
    drawn = [mixture.draw(0, draw) for draw in range(13 * 21)]
    for block in range(21):  # in every block of 13, not only in the long run
        assert sum(index < 7 for index in drawn[13 * block : 13 * block + 13]) == 10
    first = [index for index in drawn if index < 7]
    second = [index for index in drawn if index >= 7]
    assert all(sorted(first[start : start + 7]) == list(range(7)) for start in range(0, len(first) - 6, 7))
    assert all(sorted(second[start : start + 3]) == [7, 8, 9] for start in range(0, len(second) - 2, 3))


def test_a_draw_is_a_pure_function_of_seed_and_number() -> None:
    sets = make_set("a", 7), make_set("b", 3, 0.3)
    straight = [make_mixture(*sets).draw(1, draw) for draw in range(60)]
    mixture = make_mixture(*sets)
    order = np.random.default_rng(0).permutation(60)
    assert all(mixture.draw(1, int(draw)) == straight[draw] for draw in order)
    assert straight != [mixture.draw(2, draw) for draw in range(60)]


def test_sources_are_mixed_and_not_drawn_one_after_the_other() -> None:
    mixture = make_mixture(make_set("a", 50), make_set("b", 50))
    sources = ["ab"[mixture.draw(0, draw) // 50] for draw in range(100)]
    assert Counter(sources) == {"a": 50, "b": 50}
    changes = sum(one != other for one, other in pairwise(sources))
    assert 30 < changes < 70


def test_locating_and_naming() -> None:
    a, b = make_set("x/one", 2), make_set("y/one", 3)
    mixture = make_mixture(a, b)
    assert len(mixture) == 5
    assert [mixture.locate(index) for index in (0, 1, 2, 4)] == [
        (mixture.readers[0], 0),
        (mixture.readers[0], 1),
        (mixture.readers[1], 0),
        (mixture.readers[1], 2),
    ]
    assert [pair.name for pair in mixture.pairs] == ["x/one/0", "x/one/1", "y/one/0", "y/one/1", "y/one/2"]
    assert [pair.name for pair in make_mixture(a).pairs] == ["0", "1"]
    assert label_sets([make_set("p/a", 1), make_set("p/b", 1)]) == ("a", "b")
    assert label_sets([make_set("/", 1), make_set("/", 1)]) == ("1", "2")


def test_the_mix_in_words() -> None:
    sets = make_set("a", 200), make_set("b", 34, 0.3, photos=True)
    assert describe_mix(sets) == "mix: a 77 % (200 pairs), b 23 % (34 photos)"


def test_photographs_get_half_of_the_crops_beside_pairs_however_many_there_are() -> None:
    sets = (make_set("few", 1), make_set("more", 2), make_set("photos", 200, photos=True))
    balanced = balance(sets)
    assert [part.weight for part in balanced] == [0.167, 0.333, 0.5]
    plain = DEGRADATIONS["bicubic"]
    mixture = Mixture([PairReader(part, scale=4, degradation=plain) for part in balanced], balanced)
    drawn = Counter("photos" if mixture.draw(3, place) >= 3 else "pairs" for place in range(1000))
    assert drawn == {"photos": 500, "pairs": 500}


def test_weights_that_are_given_and_lone_kinds_are_left_as_they_are() -> None:
    for sets in (
        (make_set("a", 5, 0.2), make_set("b", 5, photos=True)),
        (make_set("a", 5), make_set("b", 3)),
        (make_set("a", 5, photos=True),),
    ):
        assert balance(sets) == sets
