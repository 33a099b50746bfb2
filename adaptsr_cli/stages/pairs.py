"""Opening data folders: found, checked and split before any model is loaded (R20-R22)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from adaptsr_cli.artifacts import Split, SplitItem
from adaptsr_cli.data.degrade import Degradation, find_degradation
from adaptsr_cli.data.layouts import PairSet, check_pairs, find_pairs, fit_scale
from adaptsr_cli.data.pairs import PairReader, file_fingerprint, set_fingerprint, split_pairs
from adaptsr_cli.errors import DataError
from adaptsr_cli.progress import Progress
from adaptsr_cli.units import plural

Role = Literal["train", "val", "test"]


def open_pairs(folder: Path, role: Role, progress: Progress) -> PairSet:
    """Finds and checks the pairs of a folder; notes what was found.

    Raises:
        DataError: No usable pairs; see `find_pairs` and `check_pairs`.
    """
    pairs = check_pairs(find_pairs(folder, role=role), progress)
    progress.note(f"{role} data: {pairs.describe()}")
    for note in pairs.notes:
        progress.note(note)
    return pairs


@dataclass(frozen=True)
class TrainingData:
    """The pairs of a training run, disjoint by image."""

    train: PairSet
    held_out: PairSet

    @property
    def fingerprint(self) -> str:
        """Identity of both parts together."""
        return f"{set_fingerprint(self.train)}-{set_fingerprint(self.held_out)}"

    def record(self, folder: Path) -> Split:
        """The split as an artifact, images named and fingerprinted."""
        return Split(
            data=str(folder.resolve()),
            layout=self.train.layout,
            train=_items(self.train),
            held_out=_items(self.held_out),
        )


def open_training_data(folder: Path, val: Path | None, seed: int, progress: Progress) -> TrainingData:
    """Opens the pairs to train on and those to watch: ``--val``, or a fifth of the images held out."""
    pairs = open_pairs(folder, "train", progress)
    if val is not None:
        held_out = open_pairs(val, "val", progress)
        _refuse_overlap(pairs, held_out)
        return TrainingData(pairs, held_out)
    train, held_out = split_pairs(pairs, seed=seed)
    progress.note(f"{plural(len(train.pairs), 'pair')} to train on, {len(held_out.pairs)} held out for validation")
    return TrainingData(train, held_out)


def _refuse_overlap(train: PairSet, held_out: PairSet) -> None:
    """A score on images that were trained on says nothing."""
    seen = {file_fingerprint(pair.hr) for pair in train.pairs}
    both = [pair.name for pair in held_out.pairs if file_fingerprint(pair.hr) in seen]
    if both:
        names = ", ".join(both[:3])
        raise DataError(
            f"{plural(len(both), 'image')} of --val {held_out.root} are in the training data too: {names}",
            "name other images by --val, or leave it out to hold out a fifth",
        )


def open_reader(pairs: PairSet, scale: int, degrade: str | None, seed: int) -> PairReader:
    """A reader of `pairs` for a network of this scale.

    Args:
        pairs: The pairs, or photos.
        scale: Of the network.
        degrade: Name of the degradation that makes LR from photos; None for the default.
        seed: Seed of the degradation.

    Raises:
        DataError: The pairs are of another scale.
        UsageError: No such degradation.
    """
    return PairReader(fit_scale(pairs, scale), scale=scale, degradation=choose_degradation(pairs, degrade), seed=seed)


def choose_degradation(pairs: PairSet, name: str | None) -> Degradation | None:
    """The degradation for photos; None where the LR side is real."""
    if pairs.ratio is not None:
        return None
    return find_degradation(name or "realesrgan")


def fit_patch(reader: PairReader, asked_px: int | None, default_px: int, progress: Progress) -> int:
    """The side of the HR patch: as asked, else the default or what the smallest image allows."""
    if asked_px is not None:
        return asked_px
    smallest_px = min(min(reader.hr_size(index)) for index in range(len(reader)))
    patch_px = min(default_px, smallest_px) // reader.scale * reader.scale
    if patch_px < default_px - reader.scale:
        progress.note(f"patches of {patch_px} px, since the smallest image has no more")
    return max(patch_px, reader.scale)


def held_out_only(pairs: PairSet, split: Split) -> PairSet:
    """The pairs without those that the run trained on, recognised by content."""
    seen = {item.fingerprint for item in split.train}
    kept = tuple(pair for pair in pairs.pairs if file_fingerprint(pair.hr) not in seen)
    return replace(pairs, pairs=kept)


def _items(pairs: PairSet) -> tuple[SplitItem, ...]:
    return tuple(SplitItem(name=pair.name, fingerprint=file_fingerprint(pair.hr)) for pair in pairs.pairs)
