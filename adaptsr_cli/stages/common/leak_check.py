"""Check of the parts of a run for leaks: images that show the same picture on both sides of a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adaptsr_cli.artifacts.split import SplitRecord
from adaptsr_cli.data.layouts import Pair, PairSet
from adaptsr_cli.data.leaks import Link, find_links
from adaptsr_cli.data.pairs import pair_fingerprints
from adaptsr_cli.data.scenes import place_images
from adaptsr_cli.errors import DataError
from adaptsr_cli.progress import Progress
from adaptsr_cli.units import agree, list_some, plural

_NAMED: Final = 5


@dataclass(frozen=True)
class Scenes:
    """The scenes of all images of a run.

    Attributes:
        of: HR file -> scene; every image has one.
        links: Images that were found to show the same picture, though neither name nor place told.
    """

    of: Mapping[Path, str]
    links: tuple[Link, ...] = ()

    def shared(self) -> dict[Path, str]:
        """HR file -> scene, of images that are not a scene alone."""
        often = Counter(self.of.values())
        return {path: scene for path, scene in self.of.items() if often[scene] > 1}

    def names_within(self, pairs: PairSet) -> list[tuple[str, str]]:
        """The links between images of one set, by name, those that lead through other sets included."""
        first: dict[str, str] = {}
        linked = {self.of[pair.hr] for link in self.links for pair in (link.first, link.second)}
        members = [pair for pair in pairs.pairs if self.of[pair.hr] in linked]
        return [(first.setdefault(self.of[pair.hr], pair.name), pair.name) for pair in members]


def find_scenes(sets: Sequence[PairSet], progress: Progress | None = None) -> Scenes:
    """The scenes of images as places and names tell them, and with a progress also as the pictures themselves do.

    Args:
        sets: All images.
        progress: Shows how far the search for copies is; None: no search.

    Raises:
        ImageError: A file cannot be read.
    """
    parent: dict[str, str] = {}

    def root(scene: str) -> str:
        while parent.setdefault(scene, scene) != scene:
            parent[scene] = parent[parent[scene]]
            scene = parent[scene]
        return scene

    of: dict[Path, str] = {}
    pairs: list[Pair] = []
    for number, one_set in enumerate(sets):
        prefix = f"{number}/" if len(sets) > 1 else ""
        places = place_images(one_set)
        of |= {pair.hr: f"{prefix}{places[pair.name].scene}" for pair in one_set.pairs}
        pairs += one_set.pairs
    links: list[Link] = []
    if progress is not None:

        def is_apart(first: int, second: int) -> bool:
            return root(of[pairs[first].hr]) != root(of[pairs[second].hr])

        for link in find_links(pairs, progress, is_apart):
            links.append(link)
            kept, joined = sorted((root(of[link.first.hr]), root(of[link.second.hr])))
            parent[joined] = kept
    return Scenes({path: root(scene) for path, scene in of.items()}, tuple(links))


def recorded_scenes(sets: Iterable[PairSet], known: SplitRecord) -> dict[Path, str]:
    """HR file -> scene, as the split of a run tells: it knows of links that names do not show."""
    items = (*known.train, *known.held_out, *known.unused, *known.test)
    scene_of = {item.fingerprint: item.scene for item in items if item.scene is not None}
    prints = {pair.hr: pair_fingerprints(pair)[1] for pairs in sets for pair in pairs.pairs}
    return {path: scene_of[fingerprint] for path, fingerprint in prints.items() if fingerprint in scene_of}


def tell_links(links: Sequence[Link], progress: Progress) -> None:
    """Say which images stay on one side because they show the same picture."""
    if links:
        count = len(links)
        progress.note(
            f"{plural(count, 'image')} of the training data {agree(count, 'show')} what others show, and "
            f"{agree(count, 'stay')} on one side with these: {describe_links(links)}"
        )


def describe_links(links: Sequence[Link]) -> str:
    """The first few links by name: ``b.png and a.png (a copy)``."""
    return list_some([f"{link.second.hr.name} and {link.first.hr.name} ({link.how})" for link in links], _NAMED, "; ")


def warn_of_leaks(sides: Mapping[str, Iterable[PairSet]], named: Mapping[str, Path], progress: Progress) -> None:
    """Warn of images in a folder that the user named which show what is on an earlier side.

    Args:
        sides: ``train``, ``val`` and ``test``, in this order, as far as there are images.
        named: Side -> the folder that was named for it.
        progress: Told what was found.

    Raises:
        ImageError: A file cannot be read.
        DataError: No image of the test is left.
    """
    pairs = [pair for sets in sides.values() for one_set in sets for pair in one_set.pairs]
    side_of = [side for side, sets in sides.items() for one_set in sets for _ in one_set.pairs]
    order = list(sides)
    leaked: set[int] = set()
    found: dict[str, list[Link]] = {side: [] for side in named}
    place_of = {id(pair): place for place, pair in enumerate(pairs)}

    def may_leak(first: int, second: int) -> bool:
        return (
            side_of[second] in named
            and order.index(side_of[first]) < order.index(side_of[second])
            and second not in leaked
        )

    for link in find_links(pairs, progress, may_leak):
        place = place_of[id(link.second)]
        leaked.add(place)
        found[side_of[place]].append(link)
    for side, links in found.items():
        if links:
            count = len(links)
            which = f"{plural(count, 'image')} of `{side}` {named[side]} {agree(count, 'show')} what"
            if side == "val":
                progress.warn(
                    f"{which} is trained on, so the score will be too good: {describe_links(links)}; take them out of "
                    "one side"
                )
                continue
            trained = sum(side_of[place_of[id(link.first)]] == "train" for link in links)
            if trained == sum(name == side for name in side_of):
                raise DataError(
                    f"every image of `{side}` {named[side]} shows what is trained on: {describe_links(links)}",
                    f"name a folder of others by `{side}`",
                )
            progress.warn(
                f"{which} is trained on (left out of the score then) or chooses the iteration (the score is a little "
                f"too good then): {describe_links(links)}"
            )
