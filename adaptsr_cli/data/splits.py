"""Which pairs of a set are held out from training."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from adaptsr_cli.data.layouts import Pair, PairSet
from adaptsr_cli.data.places import Place
from adaptsr_cli.errors import DataError
from adaptsr_cli.units import list_some, plural

_GAP: Final = 0.5
"""Least distance from a block to train on to a held-out one, in sides of a block: on one grid that is a whole block."""
_MOST_OVER: Final = 2.0
"""Whole scenes are held out where their pairs are at least the share divided by this, and at most multiplied by it."""


@dataclass(frozen=True)
class Split:
    """The parts of a set.

    Attributes:
        train: To train on.
        held_out: Never trained on.
        unused: On neither side, since they adjoin held-out ones; often none.
        note: How it was split, for people; empty where by name.
    """

    train: PairSet
    held_out: PairSet
    unused: PairSet
    note: str = ""


def split_pairs(pairs: PairSet, *, share: float = 0.2, seed: int = 0) -> Split:
    """Hold out a share of the images, at least one.

    Pairs whose place is known are split by place: whole scenes where there are enough, else a strip at one side of
    each photograph, with the blocks beside it left out, for blocks that adjoin show the same things. All others are
    chosen by a hash of seed and name; that choice depends on the names only, not on their order.

    Args:
        pairs: What to split.
        share: How much is held out, in (0, 1).
        seed: Another seed holds out other images.

    Raises:
        DataError: None can be held out.
    """
    if len(pairs) < 2:
        raise DataError(
            f"{pairs.root} has only {plural(len(pairs), 'pair')}, so none can be held out for validation",
            "add pairs, or name a validation folder by `val`",
        )
    places = {pair.name: pair.place for pair in pairs.pairs if pair.place is not None}
    if len(places) == len(pairs):
        return _split_by_place(pairs, places, share, seed)
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
    return _part(pairs, held, (), f"held out by place: all of {plural(len(shots), 'shot')} ({list_some(shots)})")


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
        note=note,
    )


def _hash(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
