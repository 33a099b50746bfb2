"""Which pairs of a set are held out from training."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from adaptsr_cli.data.layouts import Pair, PairSet
from adaptsr_cli.data.places import Place
from adaptsr_cli.data.scenes import join_scenes, place_images
from adaptsr_cli.errors import DataError, UsageError
from adaptsr_cli.units import list_some, plural

_GAP: Final = 0.5
"""Least distance from a block to train on to a held-out one, in sides of a block: on one grid that is a whole block."""
_MOST_OVER: Final = 2.0
"""Whole scenes are held out where their pairs are at least the share divided by this, and at most multiplied by it."""
_LEAST_TO_TRAIN: Final = 1 / 3
"""Share of a set that must remain to train on where a test part is split off."""


@dataclass(frozen=True)
class Split:
    """The parts of a set.

    Attributes:
        train: To train on.
        held_out: Never trained on; chooses what is kept.
        unused: On no side, since they adjoin held-out ones; often none.
        test: Never seen by anything but the final score; empty where none was wanted or the set is too small.
        note: How it was split, for people; empty where by name.
    """

    train: PairSet
    held_out: PairSet
    unused: PairSet
    test: PairSet
    note: str = ""


def split_pairs(
    pairs: PairSet,
    *,
    share: float = 0.2,
    seed: int = 0,
    with_test: bool = False,
    links: Iterable[tuple[str, str]] = (),
) -> Split:
    """Hold out a share of the images, at least one, and where it is wanted as many again for a test.

    What shows the same things stays together: pairs whose place is known, bursts, crops of one photograph and frames of
    one video, as their names tell, and images that are linked. Whole scenes are held out where there are enough, else a
    strip at one side of each photograph or end of each video, with what is beside it left out, for it shows the same
    things. Images that are a scene each are chosen by a hash of seed and name; that choice depends on the names only,
    not on their order, and is the same with and without a test part.

    Args:
        pairs: What to split.
        share: How much is held out, in (0, 1).
        seed: Another seed holds out other images.
        with_test: Split off a third part of the same share, if a third of the set and one image remain to train on.
        links: Pairs of names that were found to show the same things.

    Raises:
        DataError: None can be held out.
    """
    if len(pairs) < 2:
        raise DataError(
            f"{pairs.root} has only {plural(len(pairs), 'pair')}, so none can be held out for validation",
            "add pairs, or name a validation folder by `val`",
        )
    places = join_scenes(place_images(pairs), links)
    split = _split_once(pairs, places, share, seed)
    if not with_test:
        return split
    try:
        again = _split_once(split.train, places, share / (1 - share), seed)
    except DataError:
        return split
    if len(again.train) < max(1, _LEAST_TO_TRAIN * len(pairs)):
        return split
    notes = [split.note.replace("held out", "held out for validation", 1), again.note.replace("held out", "test", 1)]
    return Split(
        train=again.train,
        held_out=split.held_out,
        unused=replace(pairs, pairs=split.unused.pairs + again.unused.pairs),
        test=replace(again.held_out, split="test"),
        note="; ".join(filter(None, notes)),
    )


def deal_folds(scenes: Mapping[Path, str], folds: int, seed: int) -> dict[Path, int]:
    """The fold of each image, in [0, folds): whole scenes, so many images in each as scenes allow.

    Args:
        scenes: Image -> its scene.
        folds: How many.
        seed: Another one deals otherwise.

    Raises:
        UsageError: There are fewer scenes than folds.
    """
    sizes = Counter(scenes.values())
    if len(sizes) < folds:
        raise UsageError(
            f"`folds` {folds} are more than the {plural(len(sizes), 'independent image')} (or scenes) of the data",
            "add images of other scenes, or leave `folds` out where fewer are too few",
        )
    filled = [0] * folds
    fold_of: dict[str, int] = {}
    for scene in sorted(sizes, key=lambda scene: (-sizes[scene], _hash(seed, scene))):
        fold_of[scene] = filled.index(min(filled))
        filled[fold_of[scene]] += sizes[scene]
    return {path: fold_of[scene] for path, scene in scenes.items()}


def _split_once(pairs: PairSet, places: Mapping[str, Place], share: float, seed: int) -> Split:
    """Train and held-out part of a set.

    Raises:
        DataError: None can be held out.
    """
    places = {pair.name: places[pair.name] for pair in pairs.pairs}
    if len({place.scene for place in places.values()}) < len(places) or any(pair.place for pair in pairs.pairs):
        return _split_by_place(pairs, places, share, seed)
    if len(pairs) < 2:
        raise DataError("one image cannot be split", "add images")
    count = min(len(pairs) - 1, max(1, round(share * len(pairs))))
    ordered = sorted((pair.name for pair in pairs.pairs), key=lambda name: _hash(seed, name))
    return _part(pairs, ordered[:count], (), "")


def _split_by_place(pairs: PairSet, places: dict[str, Place], share: float, seed: int) -> Split:
    scenes: dict[str, list[str]] = {}
    for name, place in places.items():
        scenes.setdefault(place.scene, []).append(name)
    wanted = share * len(places)
    whole = _choose_scenes(scenes, wanted, seed)
    if sum(len(scenes[scene]) for scene in whole) < wanted / _MOST_OVER:
        held, unused = _cut_strips(scenes, places, share, seed)
        if held:
            return _part(pairs, held, unused, _describe_strips(held, unused, places))
        if len(scenes) < 2:
            raise DataError(
                f"the {len(pairs)} pairs of {pairs.root} lie too near to each other to hold some out by place",
                "add shots of other scenes, or name a validation folder by `val`",
            )
        whole = [min(scenes, key=lambda scene: (len(scenes[scene]), _hash(seed, scene)))]
    held = [name for scene in whole for name in scenes[scene]]
    shots = sorted({places[name].shot for name in held})
    if all(pair.place is not None for pair in pairs.pairs):
        note = f"held out by place: all of {plural(len(shots), 'shot')} ({list_some(shots)})"
    else:
        note = f"held out by scene: {plural(len(held), 'image')} of {plural(len(whole), 'scene')} ({list_some(shots)})"
    return _part(pairs, held, (), note)


def _choose_scenes(scenes: dict[str, list[str]], wanted: float, seed: int) -> list[str]:
    """Scenes in the seed's order, none that would make it too many, until there are enough."""
    chosen: list[str] = []
    count = 0
    for scene in sorted(scenes, key=lambda scene: _hash(seed, scene)):
        if count < wanted and count + len(scenes[scene]) <= _MOST_OVER * wanted:
            chosen.append(scene)
            count += len(scenes[scene])
    return chosen


def _cut_strips(
    scenes: dict[str, list[str]], places: dict[str, Place], share: float, seed: int
) -> tuple[list[str], list[str]]:
    """(held out, unused) of all scenes; a scene that cannot be cut is trained on whole."""
    held: list[str] = []
    unused: list[str] = []
    for scene, names in scenes.items():
        by_photograph: dict[str, list[str]] = {}
        for name in names:
            by_photograph.setdefault(places[name].photograph, []).append(name)
        # Places on two photographs cannot be compared, so of a scene with several only one can be used.
        most = max(by_photograph.values(), key=len)
        strip, beside = _cut_strip({name: places[name] for name in most}, share, _hash(seed, scene))
        if strip:
            held += strip
            unused += [*beside, *(name for name in names if name not in most)]
    return held, unused


def _cut_strip(places: dict[str, Place], share: float, order: bytes) -> tuple[list[str], list[str]]:
    """The blocks at one side of a photograph, and those too near to them; of the four sides the first that leaves half.

    Args:
        places: Of one photograph.
        share: How much is held out.
        order: Decides which side is tried first.
    """
    count = max(1, round(share * len(places)))
    sides = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    start = order[0] % len(sides)
    best: tuple[list[str], list[str]] = ([], [])
    most_left = 0
    for across, down in sides[start:] + sides[:start]:
        ordered = sorted(
            places,
            key=lambda name: (
                across * places[name].left + down * places[name].top,
                abs(down) * places[name].left + abs(across) * places[name].top,
            ),
        )
        strip = ordered[:count]
        beside = [
            name
            for name in ordered[count:]
            if any(places[name].gap(places[other]) < _GAP * places[other].side for other in strip)
        ]
        left = len(places) - len(strip) - len(beside)
        if left > most_left:
            best, most_left = (strip, beside), left
        if 2 * left >= len(places):
            break
    return best


def _describe_strips(held: Sequence[str], unused: Sequence[str], places: dict[str, Place]) -> str:
    shots = sorted({places[name].shot for name in held})
    line = f"held out by place: {plural(len(held), 'pair')} at one side of {list_some(shots)}"
    return f"{line}; {len(unused)} beside them not used" if unused else line


def _part(pairs: PairSet, held: Collection[str], unused: Collection[str], note: str) -> Split:
    out, off = set(held), set(unused)

    def keep(wanted: set[str]) -> tuple[Pair, ...]:
        return tuple(pair for pair in pairs.pairs if pair.name in wanted)

    rest = {pair.name for pair in pairs.pairs} - out - off
    return Split(
        train=replace(pairs, split="train", pairs=keep(rest)),
        held_out=replace(pairs, split="val", pairs=keep(out)),
        unused=replace(pairs, pairs=keep(off)),
        test=replace(pairs, split="test", pairs=()),
        note=note,
    )


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
