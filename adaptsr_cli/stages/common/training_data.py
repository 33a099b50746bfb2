"""Opening data: found, checked and split before any model is loaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, Self

import torch

from adaptsr_cli.artifacts.degradation import Degradation
from adaptsr_cli.artifacts.files import FileAccount
from adaptsr_cli.artifacts.split import SplitItem, SplitRecord, SplitSource
from adaptsr_cli.data.accounts import account_files
from adaptsr_cli.data.alignment import apply_shifts, describe_alignment
from adaptsr_cli.data.cache import ImageCache
from adaptsr_cli.data.layouts import PairSet, find_pairs, fit_scale
from adaptsr_cli.data.listing import pair_folders, read_list
from adaptsr_cli.data.mixture import Mixture, balance, count_draws, describe_mix, name_pairs
from adaptsr_cli.data.pairs import PairReader, pair_fingerprints, set_fingerprint
from adaptsr_cli.data.preflight import check_pairs
from adaptsr_cli.data.sources import Align, DataSpec
from adaptsr_cli.errors import DataError
from adaptsr_cli.io.contents import NEITHER_SIDE, NO_SIDE
from adaptsr_cli.progress import Progress
from adaptsr_cli.runtime import free_memory_bytes
from adaptsr_cli.stages.common.leak_check import find_scenes, recorded_scenes, tell_links, warn_of_leaks
from adaptsr_cli.stages.common.splitting import PairSets, Parts, restore_split, split_into_folds, split_sets
from adaptsr_cli.units import agree, list_some, parse_bytes, plural

Role = Literal["train", "val", "test"]

BY_PAIRS: Final = "pairs"
"""The degradation that makes LR from photographs as the real pairs show the camera."""

_MAX_RAM_BYTES: Final = 4_000_000_000


def open_pairs(
    choice: DataSpec, role: Role, progress: Progress, scale: int | None = None, *, strict: bool = True
) -> PairSets:
    """Find and check the pairs of every folder; note what was found.

    Args:
        choice: The images that the user means.
        role: What they are for.
        progress: Told what was found.
        scale: Of the network where it is known already; decides between ``X2`` and ``X4`` of one data set.
        strict: Refuse a set in which a pair cannot be used; else such pairs are left out.

    Raises:
        DataError: No usable pairs; see `find_pairs` and `check_pairs`.
    """
    found = _find_sets(choice, role, scale)
    return tuple(_check(pairs, choice.align, role, progress, strict=strict) for pairs in found)


def _find_sets(choice: DataSpec, role: Role, scale: int | None) -> list[PairSet]:
    if choice.list_file is not None:
        return [read_list(choice.list_file)]
    if choice.hr is not None and choice.lr is not None:
        return [pair_folders(choice.hr, choice.lr)]
    return [replace(find_pairs(folder.path, role=role, scale=scale), weight=folder.weight) for folder in choice.folders]


def _check(pairs: PairSet, align: Align, role: Role, progress: Progress, *, strict: bool) -> PairSet:
    """Check one set, tell what it is, and put its shifts right where that is wanted."""
    # What is only scored is not measured, since measuring is of use to those who train; see ``--align``.
    checked = check_pairs(pairs, progress, role=role, alignment=align == "shift" or role != "test", strict=strict)
    pairs = checked.pairs
    progress.note(f"{role} data: {pairs.describe()}")
    if pairs.faults:
        told = [f"{name}: {reason}" for name, reason in pairs.faults]
        progress.warn(f"{plural(len(told), 'image')} left out of the scores: {list_some(told, 3, '; ')}")
    _tell_left_out(pairs, progress)
    notes, warning = describe_alignment(pairs, checked.alignments)
    if align == "shift":
        pairs, warning = apply_shifts(pairs, checked.alignments), None
    for note in (*notes, *pairs.notes):
        progress.note(note)
    if warning is not None:
        progress.warn(warning)
    return pairs


def _tell_left_out(pairs: PairSet, progress: Progress) -> None:
    """Say which files of the folder are not used and why; loudly where the user may think that they are."""
    told = {NEITHER_SIDE} if pairs.notes else set()  # with the folders in which they lie
    expected = [group.describe() for group in pairs.left_out if not group.is_unexpected and group.reason not in told]
    if expected:
        progress.note(f"left out in {pairs.root}: {'; '.join(expected)}")
    if surprising := [group.describe() for group in pairs.left_out if group.is_unexpected]:
        name = any(group.reason == NO_SIDE for group in pairs.left_out)
        remedy = "; name the sides by `hr_dir` and `lr_dir` if they are the LR side" if name else ""
        progress.warn(f"left out in {pairs.root}: {'; '.join(surprising)}{remedy}")


@dataclass(frozen=True)
class CacheSizes:
    """How much room decoded images may take.

    Attributes:
        ram_bytes: In memory; None for a quarter of what is free, 4 GB at most.
    """

    ram_bytes: int | None = None

    @classmethod
    def of(cls, ram: str | None) -> Self:
        """The size that a text such as ``8G`` gives.

        Raises:
            UsageError: It is not a valid size.
        """
        return cls(parse_bytes(ram, "cache_ram") if ram is not None else None)

    def open(self) -> ImageCache:
        """An empty cache of these sizes; the processes of a group on one machine share the room."""
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        ram_bytes = self.ram_bytes
        if ram_bytes is None:
            ram_bytes = min(_MAX_RAM_BYTES, free_memory_bytes(torch.device("cpu")) // 4)
        return ImageCache(ram_bytes // local)


DEFAULT_CACHE: Final = CacheSizes()


@dataclass(frozen=True)
class TrainingData:
    """The pairs of a training run, disjoint by image.

    Attributes:
        train: The sets to train on, with their weights.
        held_out: The sets to watch, by which the iteration is chosen.
        cache: Decoded images, for all stages that work on them in one call.
        unused: On no side, since they show what held-out ones show.
        test: The sets that nothing but the final score may see.
        scenes: HR file -> scene, of images that are not a scene alone.
        watches_train: Whether `held_out` are images that are trained on, since no others are left.
        files: What became of every file of the folders.
    """

    train: PairSets
    held_out: PairSets
    cache: ImageCache
    unused: PairSets = ()
    test: PairSets = ()
    scenes: Mapping[Path, str] = field(default_factory=dict)
    files: tuple[FileAccount, ...] = ()
    watches_train: bool = False

    @property
    def train_fingerprint(self) -> str:
        """Identity of the images to train on, their pairing and their shares."""
        return fingerprint_of(self.train)

    @property
    def fingerprint(self) -> str:
        """Identity of both parts together."""
        return f"{fingerprint_of(self.train)}-{fingerprint_of(self.held_out)}"

    @property
    def shows_known_scenes(self) -> bool:
        """Whether all images are real pairs and none that is watched is of another scene, as with a single shot."""
        watched, trained = (
            {self.scenes.get(pair.hr, pair.hr) for part in sets for pair in part.pairs}
            for sets in (self.held_out, self.train)
        )
        are_real = all(part.ratio is not None for part in (*self.train, *self.held_out))
        return are_real and watched <= trained and not self.watches_train

    def record(self, choice: DataSpec) -> SplitRecord:
        """The split as an artifact, images named and fingerprinted."""
        return SplitRecord(
            data=choice.describe(),
            layout="; ".join(pairs.layout for pairs in self.train),
            align=choice.align,
            sources=tuple(
                SplitSource(
                    folder=str(pairs.root.resolve()), layout=pairs.layout, weight=pairs.weight, images=len(pairs)
                )
                for pairs in self.train
            ),
            train=self._items(self.train),
            held_out=() if self.watches_train else self._items(self.held_out),
            unused=self._items(self.unused),
            test=self._items(self.test),
            files=self.files,
        )

    def _items(self, sets: PairSets) -> tuple[SplitItem, ...]:
        return tuple(
            SplitItem(name=pair.name, fingerprint=pair_fingerprints(pair)[1], scene=self.scenes.get(pair.hr))
            for pair in name_pairs(sets)
        )


def open_training_data(
    choice: DataSpec,
    val: Path | None,
    seed: int,
    progress: Progress,
    scale: int | None = None,
    cache: CacheSizes = DEFAULT_CACHE,
    degrade: str | None = None,
    *,
    test: Path | None = None,
    known: SplitRecord | None = None,
    strict: bool = False,
) -> TrainingData:
    """Open the pairs to train on, those to watch, and those for the final score alone.

    Where no folder is named by `val`, a fifth of each set is held out by `split_pairs`; from `LEAST_FOR_TEST` images on
    another fifth is kept for the test, unless a folder is named for it.

    Where photographs are degraded as the real pairs are (`BY_PAIRS`), the pairs alone are watched, and they keep a
    share of the crops that does not depend on the number of photographs; see `balance`.

    Args:
        choice: The images that the user means.
        val: Folder of those to watch.
        seed: Another one holds out other images.
        progress: Told what was found.
        scale: Of the network where it is known already.
        cache: Room for decoded images.
        degrade: How LR is made from photographs, as the user named it.
        test: Folder of those to score on at the end.
        known: The split that the run was begun with, which is kept if it is of the same images.
        strict: Refuse images of `test` that cannot be used; else they are left out.

    Raises:
        DataError: No usable pairs, none that can be held out, or images on both sides of the split.
    """
    sets = open_pairs(choice, "train", progress, scale)
    by_pairs = degrade == BY_PAIRS and any(pairs.ratio is not None for pairs in sets)
    if by_pairs:
        sets = balance(sets)
    if val is not None:
        held_out = open_pairs(DataSpec.of(val, choice.align), "val", progress, scale)
        _refuse_overlap(sets, held_out, val)
        parts, scenes = Parts(sets, held_out), find_scenes((*sets, *held_out))
    else:
        restored = None if known is None else restore_split(sets, known)
        scenes = find_scenes(sets, None if restored else progress)
        parts = restored or split_sets(sets, seed, scenes, progress, with_test=test is None, pairs_only=by_pairs)
        counts = [sum(map(len, part)) for part in (parts.train, parts.held_out, parts.test)]
        alone = f", {counts[2]} for the test alone" if counts[2] else ""
        progress.note(f"{plural(counts[0], 'image')} to train on, {counts[1]} held out for validation{alone}")
    if len(parts.train) > 1:
        progress.note(describe_mix(parts.train))
    shared = scenes.shared() | ({} if known is None else recorded_scenes(sets, known))
    named = {side: folder for side, folder in (("val", val), ("test", test)) if folder is not None}
    if named:
        scored: PairSets = ()
        if test is not None:
            scored = open_pairs(DataSpec.of(test, choice.align), "test", progress, scale, strict=strict)
        warn_of_leaks({"train": parts.train, "val": parts.held_out, "test": scored}, named, progress)
    files = _account(sets if val is None else (*sets, *held_out), parts)
    return TrainingData(parts.train, parts.held_out, cache.open(), parts.unused, parts.test, shared, files)


@dataclass(frozen=True)
class FoldedData:
    """The images of a cross-validation.

    Attributes:
        folds: For each fold, the parts of the training that is scored on it.
        whole: All images to train on, for the final model; they are watched too, since no others are left.
    """

    folds: tuple[TrainingData, ...]
    whole: TrainingData


def open_folded_data(
    choice: DataSpec,
    folds: int,
    seed: int,
    progress: Progress,
    scale: int | None = None,
    cache: CacheSizes = DEFAULT_CACHE,
    degrade: str | None = None,
) -> FoldedData:
    """Open all pairs and deal them into folds; what shows the same things is in one fold.

    Args:
        choice: The images that the user means.
        folds: How many, 3 or more.
        seed: Another one deals them otherwise.
        progress: Told what was found.
        scale: Of the network where it is known already.
        cache: Room for decoded images.
        degrade: How LR is made from photographs, as the user named it.

    Raises:
        DataError: No usable pairs.
        UsageError: There are fewer scenes than folds.
    """
    sets = open_pairs(choice, "train", progress, scale)
    by_pairs = degrade == BY_PAIRS and any(pairs.ratio is not None for pairs in sets)
    if by_pairs:
        sets = balance(sets)
    scenes = find_scenes(sets, progress)
    tell_links(scenes.links, progress)
    images, shared = cache.open(), scenes.shared()
    parts = split_into_folds(sets, folds, seed, scenes, pairs_only=by_pairs)
    watched = tuple(pairs for pairs in sets if pairs.ratio is not None or not by_pairs)
    return FoldedData(
        tuple(
            TrainingData(part.train, part.held_out, images, (), part.test, shared, _account(sets, part))
            for part in parts
        ),
        TrainingData(sets, watched, images, (), (), shared, _account(sets, Parts(sets, ())), watches_train=True),
    )


def _account(sets: PairSets, parts: Parts) -> tuple[FileAccount, ...]:
    """What became of every file of the folders."""
    named = {"train": parts.train, "held_out": parts.held_out, "test": parts.test}
    used = {name: [pair for pairs in part for pair in pairs.pairs] for name, part in named.items()}
    return tuple(account_files(pairs, used, "beside held-out images, or the same") for pairs in sets)


def _refuse_overlap(train: PairSets, held_out: PairSets, val: Path) -> None:
    """A score on images that were trained on says nothing."""
    seen = {pair_fingerprints(pair)[1] for pairs in train for pair in pairs.pairs}
    both = [pair.name for pair in name_pairs(held_out) if pair_fingerprints(pair)[1] in seen]
    if both:
        raise DataError(
            f"{plural(len(both), 'image')} of `val` {val} {agree(len(both), 'are')} in the training data too: "
            f"{list_some(both)}",
            "name other images by `val`, or leave it out to hold out a fifth",
        )


def fingerprint_of(sets: PairSets) -> str:
    """Identity of all images, their pairing and their shares of the crops, whatever folders they lie in."""
    single = [set_fingerprint(pairs) for pairs in sets]
    if len(single) == 1:
        return single[0]
    draws_per_block = count_draws([pairs.weight for pairs in sets], [len(pairs) for pairs in sets])
    text = "\n".join(f"{print_} {count}" for print_, count in zip(single, draws_per_block, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_reader(
    sets: Sequence[PairSet], scale: int, degradation: Degradation | None, seed: int, cache: ImageCache
) -> Mixture:
    """A reader of all sets for a network of this scale.

    Args:
        sets: The pairs, or photos.
        scale: Of the network.
        degradation: What makes LR from photos; None where there are no photos.
        seed: Seed of the degradation.
        cache: Where decoded images are kept.

    Raises:
        DataError: The pairs are of another scale.
    """
    readers = [
        PairReader(fit_scale(pairs, scale), scale=scale, degradation=degradation, seed=seed + position, cache=cache)
        for position, pairs in enumerate(sets)
    ]
    return Mixture(readers, sets)


def fit_patch(reader: Mixture, asked_px: int | None, default_px: int, progress: Progress) -> int:
    """The side of the HR patch: as asked, else the default or what the smallest image allows."""
    if asked_px is not None:
        return asked_px
    smallest_px = min(min(reader.hr_size(index)) for index in range(len(reader)))
    patch_px = min(default_px, smallest_px) // reader.scale * reader.scale
    if patch_px < default_px - reader.scale:
        progress.note(f"patches of {patch_px} px, since the smallest image has no more")
    return max(patch_px, reader.scale)
