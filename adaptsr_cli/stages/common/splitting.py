"""Splits of all sets of a run: into images to train on, to watch and to score on, and what a run has seen of others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from adaptsr_cli.artifacts.split import SplitItem, SplitRecord
from adaptsr_cli.data.layouts import Pair, PairSet
from adaptsr_cli.data.pairs import pair_fingerprints
from adaptsr_cli.data.splits import Split, deal_folds, split_pairs
from adaptsr_cli.errors import DataError
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.leak_check import Scenes, tell_links
from adaptsr_cli.units import list_some, plural

PairSets = tuple[PairSet, ...]
Role = Literal["train", "validation", "test", "unused"]
"""What an image was to a run: trained on; watched to choose the iteration; scored on only; on no side."""

LEAST_FOR_TEST: Final = 15
"""From so many images on a third part is split off; of fewer it would be one or two, and little be left to train on."""


@dataclass(frozen=True)
class Parts:
    """The parts of all sets; see `TrainingData`."""

    train: PairSets
    held_out: PairSets
    test: PairSets = ()
    unused: PairSets = ()


def split_sets(
    sets: PairSets, seed: int, scenes: Scenes, progress: Progress, *, with_test: bool, pairs_only: bool = False
) -> Parts:
    """Hold out a fifth of each set, and another fifth for the test where it is wanted and there are enough images.

    Args:
        sets: All images.
        seed: Another one holds out other images.
        scenes: Which of them show the same things.
        progress: Told how it was done.
        with_test: Whether a third part is wanted.
        pairs_only: Split the real pairs, and train on all photographs.

    Raises:
        DataError: None can be held out.
    """
    tell_links(scenes.links, progress)
    to_split = [pairs for pairs in sets if pairs.ratio is not None or not pairs_only]
    with_test = with_test and sum(map(len, to_split)) >= LEAST_FOR_TEST
    found = {pairs.root: _split_set(pairs, seed, scenes, progress, with_test=with_test) for pairs in to_split}
    splits = list(found.values())
    for note in filter(None, (split.note for split in splits)):
        progress.note(note)
    test = tuple(split.test for split in splits if len(split.test))
    held_out = tuple(split.held_out for split in splits)
    train = tuple(found[pairs.root].train if pairs.root in found else pairs for pairs in sets)
    unused = tuple(split.unused for split in splits)
    return _drop_linked(Parts(train, held_out, test, unused), scenes, progress)


def split_into_folds(sets: PairSets, folds: int, seed: int, scenes: Scenes, *, pairs_only: bool = False) -> list[Parts]:
    """For each fold the parts of a training that is scored on it: watched is the next fold, trained on all others.

    Args:
        sets: All images.
        folds: How many, 3 or more.
        seed: Another one deals the images otherwise.
        scenes: Which of them show the same things, and so are in one fold.
        pairs_only: Deal the real pairs, and train on photographs in every fold.

    Raises:
        UsageError: There are fewer scenes than folds.
    """
    dealt = [pairs for pairs in sets if pairs.ratio is not None or not pairs_only]
    fold_of = deal_folds({pair.hr: scenes.of[pair.hr] for pairs in dealt for pair in pairs.pairs}, folds, seed)

    def part(role: Role, wanted: Container[int | None]) -> PairSets:
        found = []
        for pairs in sets:
            kept = tuple(pair for pair in pairs.pairs if fold_of.get(pair.hr) in wanted)
            if kept:
                found.append(replace(pairs, split=_SPLITS[role], pairs=kept))
        return tuple(found)

    parts = []
    for fold in range(folds):
        watched = (fold + 1) % folds
        others = {None, *range(folds)} - {fold, watched}
        parts.append(Parts(part("train", others), part("validation", {watched}), part("test", {fold})))
    return parts


def restore_split(sets: PairSets, known: SplitRecord) -> Parts | None:
    """The parts that a run was begun with; None where the images are others, or all were trained on.

    Args:
        sets: All images.
        known: The split of the run.
    """
    roles: dict[str, list[tuple[str, Role]]] = {}
    for role, items in _items(known):
        for item in items:
            roles.setdefault(item.fingerprint, []).append((item.name, role))
    parts: dict[Role, list[PairSet]] = {"train": [], "validation": [], "test": [], "unused": []}
    found: Counter[Role] = Counter()
    for pairs in sets:
        chosen: dict[Role, list[Pair]] = {role: [] for role in parts}
        for pair in pairs.pairs:
            named = roles.get(pair_fingerprints(pair)[1])
            if named is None:
                return None
            # A copy of an image under another name, which was on no side.
            fitting = [role for name, role in named if f"/{name}".endswith(f"/{pair.name}")]
            if fitting:
                chosen[fitting[0]].append(pair)
        for role, pairs_of_role in chosen.items():
            found[role] += len(pairs_of_role)
            if pairs_of_role:
                parts[role].append(replace(pairs, split=_SPLITS[role], pairs=tuple(pairs_of_role)))
    if not known.held_out or any(found[role] != len(items) for role, items in _items(known)):
        return None
    train, held_out, test, unused = (tuple(parts[role]) for role in ("train", "validation", "test", "unused"))
    return Parts(train, held_out, test, unused)


_SPLITS: Final[dict[Role, Literal["train", "val", "test", "all"]]] = {
    "train": "train",
    "validation": "val",
    "test": "test",
    "unused": "all",
}


def sort_by_role(pairs: PairSet, split: SplitRecord) -> dict[Role | None, PairSet]:
    """The images of a set by what they were to a run, recognised by content; None: the run did not know them."""
    role_of = {item.fingerprint: role for role, items in _items(split) for item in items}
    sorted_pairs: dict[Role | None, list[Pair]] = {}
    for pair in pairs.pairs:
        sorted_pairs.setdefault(role_of.get(pair_fingerprints(pair)[1]), []).append(pair)
    return {role: replace(pairs, pairs=tuple(found)) for role, found in sorted_pairs.items()}


def keep_roles(pairs: PairSet, split: SplitRecord, roles: Iterable[Role | None]) -> PairSet:
    """The pairs of a set that were one of these to a run, in their order."""
    wanted = set(roles)
    kept = {pair.name for role, part in sort_by_role(pairs, split).items() if role in wanted for pair in part.pairs}
    return replace(pairs, pairs=tuple(pair for pair in pairs.pairs if pair.name in kept))


def _items(split: SplitRecord) -> tuple[tuple[Role, Sequence[SplitItem]], ...]:
    # Of an image that is on several sides the strictest holds: trained on goes before all else.
    return (
        ("test", split.test),
        ("validation", split.held_out),
        ("unused", split.unused),
        ("train", split.train),
    )


def _drop_linked(parts: Parts, scenes: Scenes, progress: Progress) -> Parts:
    """Without images that show what is on another side in another folder: those that are scored are seen for that only.

    Within one folder they are on one side already.

    Raises:
        DataError: Nothing is left to train on.
    """
    watched = _folders_of_scenes(parts.held_out, scenes)
    test, _ = _without(parts.test, watched, scenes)
    train, dropped = _without(parts.train, watched | _folders_of_scenes(test, scenes), scenes)
    if not train:
        raise DataError("all images are copies of held-out ones", "add images, or name a validation folder by `val`")
    if dropped:
        count = plural(len(dropped), "image")
        progress.note(f"{count} not trained on, showing the same as held-out ones: {list_some(dropped)}")
    return replace(parts, train=train, test=test)


def _folders_of_scenes(sets: PairSets, scenes: Scenes) -> set[tuple[str, Path]]:
    """The scenes of images, each with the folder of the set that it is in."""
    return {(scenes.of[pair.hr], pairs.root) for pairs in sets for pair in pairs.pairs}


def _without(sets: PairSets, watched: set[tuple[str, Path]], scenes: Scenes) -> tuple[PairSets, list[str]]:
    """The sets without images whose scene is watched in another folder, and the names of those."""
    folders: dict[str, set[Path]] = {}
    for scene, root in watched:
        folders.setdefault(scene, set()).add(root)
    kept: list[PairSet] = []
    dropped: list[str] = []
    for pairs in sets:
        linked = [bool(folders.get(scenes.of[pair.hr], set()) - {pairs.root}) for pair in pairs.pairs]
        dropped += [pair.name for pair, is_linked in zip(pairs.pairs, linked, strict=True) if is_linked]
        left = tuple(pair for pair, is_linked in zip(pairs.pairs, linked, strict=True) if not is_linked)
        if left:
            kept.append(replace(pairs, pairs=left))
    return tuple(kept), dropped


def _split_set(pairs: PairSet, seed: int, scenes: Scenes, progress: Progress, *, with_test: bool) -> Split:
    """One set, with what shows the same picture on one side, unless nearly all of it does.

    Raises:
        DataError: None can be held out.
    """
    links = scenes.names_within(pairs)
    try:
        return split_pairs(pairs, seed=seed, with_test=with_test, links=links)
    except DataError:
        if not links:
            raise
    split = split_pairs(pairs, seed=seed, with_test=with_test)
    progress.warn(
        f"nearly all images of {pairs.root} show the same picture, held-out ones too, so the score says little of "
        "other scenes; add images of these, or name some by `val`"
    )
    return split
