from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import pytest

from adaptsr_cli.data.layouts import Pair, PairSet
from adaptsr_cli.data.places import Place
from adaptsr_cli.data.splits import Split, deal_folds, split_pairs
from adaptsr_cli.errors import DataError, UsageError

SIDE = 96.0


def set_of(*names: str, root: Path = Path("x")) -> PairSet:
    return PairSet(
        root, "pairs", tuple(Pair(name, root / f"{name}_lr", root / f"{name}_hr") for name in names), 4, "all"
    )


def names_of(pairs: PairSet) -> set[str]:
    return {pair.name for pair in pairs.pairs}


def block(shot: str, column: int, row: int, *, scene: str = "", side: float = SIDE) -> Pair:
    name = f"{shot}_{column}_{row}"
    place = Place(shot, scene or shot, f"photo of {scene or shot}", column * side, row * side, side)
    return replace(set_of(name).pairs[0], place=place)


def blocks_of(*blocks: Pair) -> PairSet:
    return replace(set_of(), pairs=blocks)


def grid(shot: str, columns: int, rows: int) -> list[Pair]:
    return [block(shot, column, row) for column, row in product(range(columns), range(rows))]


def gaps(split: Split) -> Iterable[float]:
    for one, other in product(split.train.pairs, split.held_out.pairs):
        assert one.place is not None
        assert other.place is not None
        if one.place.photograph == other.place.photograph:
            yield one.place.gap(other.place)


def check_whole(pairs: PairSet, split: Split) -> None:
    parts = [names_of(part) for part in (split.train, split.held_out, split.unused)]
    assert set().union(*parts) == names_of(pairs)
    assert sum(map(len, parts)) == len(pairs)
    assert parts[0]
    assert parts[1]


def test_a_split_is_whole_disjoint_and_free_of_order() -> None:
    names = [f"image{index}" for index in range(20)]
    split = split_pairs(set_of(*names), share=0.2)
    check_whole(set_of(*names), split)
    assert len(split.held_out) == 4
    assert len(split.unused) == 0
    assert (split.train.split, split.held_out.split) == ("train", "val")
    assert names_of(split_pairs(set_of(*reversed(names)), share=0.2).held_out) == names_of(split.held_out)
    assert names_of(split_pairs(set_of(*names), share=0.2, seed=1).held_out) != names_of(split.held_out)


def test_a_split_keeps_and_holds_out_at_least_one() -> None:
    assert len(split_pairs(set_of("a", "b"), share=0.01).held_out) == 1
    assert len(split_pairs(set_of("a", "b", "c"), share=0.99).train) == 1
    with pytest.raises(DataError, match="only 1 pair"):
        split_pairs(set_of("a"))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("columns", "rows"), [(12, 8), (6, 6), (20, 2), (3, 1), (3, 3)])
def test_of_one_shot_a_strip_is_held_out_with_a_gap(columns: int, rows: int, seed: int) -> None:
    pairs = blocks_of(*grid("a", columns, rows))
    split = split_pairs(pairs, seed=seed)
    check_whole(pairs, split)
    assert len(split.held_out) == max(1, round(columns * rows / 5))
    assert min(gaps(split)) >= SIDE
    assert "at one side of a" in split.note
    assert f"{len(split.unused)} beside them not used" in split.note
    assert split_pairs(replace(pairs, pairs=pairs.pairs[::-1]), seed=seed).note == split.note


def test_another_seed_holds_out_another_side() -> None:
    pairs = blocks_of(*grid("a", 8, 8))
    assert len({frozenset(names_of(split_pairs(pairs, seed=seed).held_out)) for seed in range(12)}) == 4


def test_of_many_shots_whole_ones_are_held_out() -> None:
    pairs = blocks_of(*(pair for shot in "abcdefgh" for pair in grid(shot, 3, 2)))
    split = split_pairs(pairs)
    check_whole(pairs, split)
    assert len(split.unused) == 0
    shots = [{pair.place.shot for pair in part.pairs if pair.place} for part in (split.train, split.held_out)]
    assert not shots[0] & shots[1]
    assert 5 <= len(split.held_out) <= 19
    assert "all of 2 shots" in split.note


def test_shots_of_one_scene_stay_together() -> None:
    pairs = blocks_of(
        *grid("a", 3, 2), *(block("b", column, row, scene="a") for column, row in product(range(3), range(2))),
        *(pair for shot in "cdef" for pair in grid(shot, 3, 2)),
    )  # fmt: skip
    for seed in range(10):
        split = split_pairs(pairs, seed=seed)
        scenes = [{pair.place.scene for pair in part.pairs if pair.place} for part in (split.train, split.held_out)]
        assert not scenes[0] & scenes[1]


def test_two_large_shots_are_cut_both_and_two_small_ones_are_not() -> None:
    large = blocks_of(*grid("a", 6, 5), *grid("b", 6, 5))
    split = split_pairs(large)
    check_whole(large, split)
    assert {pair.place.shot for pair in split.held_out.pairs if pair.place} == {"a", "b"}
    assert min(gaps(split)) >= SIDE
    small = blocks_of(*grid("a", 2, 2), *grid("b", 2, 1))
    assert {pair.place.shot for pair in split_pairs(small).held_out.pairs if pair.place} == {"b"}


def test_grids_of_two_teles_on_one_photograph_keep_their_distance() -> None:
    pairs = blocks_of(
        *grid("a", 10, 8),
        *(block("b", column, row, scene="a", side=77.0) for column, row in product(range(12), range(10))),
    )
    for seed in range(4):
        split = split_pairs(pairs, seed=seed)
        check_whole(pairs, split)
        assert min(gaps(split)) >= SIDE / 3


def test_blocks_that_all_adjoin_cannot_be_split() -> None:
    with pytest.raises(DataError, match="4 pairs of x lie too near"):
        split_pairs(blocks_of(*grid("a", 2, 2)))


def parts_of(split: Split) -> list[set[str]]:
    return [names_of(part) for part in (split.train, split.held_out, split.test, split.unused)]


def check_disjoint(pairs: PairSet, split: Split) -> None:
    parts = parts_of(split)
    assert set().union(*parts) == names_of(pairs)
    assert sum(map(len, parts)) == len(pairs)


@pytest.mark.parametrize("count", [15, 16, 34, 100])
def test_a_third_part_is_split_off_and_leaves_the_validation_part_as_it_is(count: int) -> None:
    pairs = set_of(*(f"image{index}" for index in range(count)))
    split = split_pairs(pairs, with_test=True)
    check_disjoint(pairs, split)
    assert names_of(split.held_out) == names_of(split_pairs(pairs).held_out)
    assert len(split.test) == pytest.approx(count / 5, abs=1)
    assert len(split.train) >= 0.55 * count
    assert split.test.split == "test"
    assert parts_of(split_pairs(replace(pairs, pairs=pairs.pairs[::-1]), with_test=True)) == parts_of(split)
    assert not split_pairs(pairs).test.pairs


@pytest.mark.parametrize("seed", range(6))
def test_crops_bursts_and_linked_images_stay_on_one_side(seed: int) -> None:
    names = [f"photo{photo}_crop{crop}" for photo in range(9) for crop in range(1 + photo % 3)]
    pairs = set_of(*names, "x", "y", "z")
    split = split_pairs(pairs, seed=seed, with_test=True, links=[("x", "z"), ("y", "photo4_crop0")])
    check_disjoint(pairs, split)
    sides = {name: number for number, part in enumerate(parts_of(split)) for name in part}
    for photo in range(9):
        assert len({sides[name] for name in names if name.startswith(f"photo{photo}_")}) == 1
    assert sides["x"] == sides["z"]
    assert sides["y"] == sides["photo4_crop0"]
    assert all(parts_of(split)[:3])
    assert "by scene" in split.note


def test_of_one_video_the_ends_are_held_out_with_a_gap() -> None:
    pairs = set_of(*(f"frame_{index:04d}" for index in range(40)))
    split = split_pairs(pairs, with_test=True)
    check_disjoint(pairs, split)
    assert len(split.held_out) == len(split.test) == 8
    numbers = [sorted(int(name[-4:]) for name in part) for part in parts_of(split)[:3]]
    assert all(part[-1] - part[0] == len(part) - 1 for part in numbers)
    ordered = sorted(numbers)
    assert all(after[0] - before[-1] > 1 for before, after in pairwise(ordered))


def test_too_few_scenes_have_no_third_part() -> None:
    pairs = set_of(*(f"photo{photo}_crop{crop}" for photo in range(2) for crop in range(10)))
    split = split_pairs(pairs, with_test=True)
    check_disjoint(pairs, split)
    assert len(split.train) >= 20 / 3


def test_folds_hold_whole_scenes_of_like_size_and_follow_the_seed() -> None:
    scenes = {Path(f"{scene}{crop}"): f"s{scene}" for scene in range(9) for crop in range(1 + scene % 3)}
    folds = deal_folds(scenes, 4, 0)
    assert folds == deal_folds(dict(reversed(scenes.items())), 4, 0)
    assert folds != deal_folds(scenes, 4, 1)
    assert len({(scenes[path], fold) for path, fold in folds.items()}) == 9
    sizes = [list(folds.values()).count(fold) for fold in range(4)]
    assert max(sizes) - min(sizes) <= 2
    with pytest.raises(UsageError, match="`folds` 10 are more than the 9 independent images"):
        deal_folds(scenes, 10, 0)
