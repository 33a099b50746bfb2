"""Check of every pair before any work; the measurements are stored for the next time."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from adaptsr_cli.artifacts.preflight import FileStamp, PairAlignment, PairMeasure, PreflightRecord
from adaptsr_cli.data.alignment import measure_alignment
from adaptsr_cli.data.layouts import Pair, PairFacts, PairSet, ratio_of, times_larger
from adaptsr_cli.data.pairs import pair_fingerprints
from adaptsr_cli.errors import AdaptsrError, ArtifactError, DataError, ImageError
from adaptsr_cli.io.cache_folder import cache_dir
from adaptsr_cli.io.contents import RESULT
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.io.result_mark import read_mark
from adaptsr_cli.progress import Progress
from adaptsr_cli.units import agree, list_some, plural, readable

_NAMED_FAULTS = 3
_LEAST_LR_PX = 3  # validation leaves out a border of one LR pixel
_CHECKS = 4
"""Counts the ways of checking: what was checked in an older way is checked anew."""


@dataclass(frozen=True)
class Checked:
    """A set whose files can all be decoded and have fitting sizes.

    Attributes:
        pairs: With the measured ratio, the facts of each pair, and a note where pairs are trimmed.
        alignments: Of the pairs in their order; None for photographs and where it was not wanted.
    """

    pairs: PairSet
    alignments: tuple[PairAlignment | None, ...]


def check_pairs(
    pairs: PairSet, progress: Progress, *, role: str = "train", alignment: bool = False, strict: bool = True
) -> Checked:
    """Decode every file and compare the sizes, before a model is loaded.

    Photographs that are results of ``adaptsr upscale`` are left out, unless all are.

    HR must be `ratio` times LR, the same ratio for all pairs; up to ``ratio - 1`` pixels at the right and bottom
    may be off and are trimmed. Files that have not changed since an earlier check are not read again.

    Args:
        pairs: As found.
        progress: Shows how far the check is.
        role: What the pairs are for, for the messages: ``train``, ``val`` or ``test``.
        alignment: Measure shift and colour gain of each pair too.
        strict: Refuse the set where a pair cannot be used; else such pairs are left out and named in `faults`.

    Raises:
        DataError: At least one file is damaged or of the wrong size, or with `strict` off all are; they are counted,
            and the first three named.
    """
    measures = _measure_all(pairs, progress, alignment=alignment)
    ratio = pairs.ratio
    if ratio is not None:
        counts = Counter(ratio_of(entry.lr_px, entry.hr_px) for entry in measures if isinstance(entry, PairMeasure))
        counts.pop(None, None)
        ratio = counts.most_common(1)[0][0] if counts else ratio
    faults: list[tuple[Pair, str]] = []
    sound: list[tuple[Pair, PairMeasure]] = []
    trimmed = 0
    for pair, entry in zip(pairs.pairs, measures, strict=True):
        if isinstance(entry, str):
            faults.append((pair, entry))
            continue
        if ratio is not None and ratio_of(entry.lr_px, entry.hr_px) != ratio:
            faults.append((pair, _wrong_sizes(entry, ratio)))
            continue
        sound.append((pair, entry))
        trimmed += ratio is not None and entry.hr_px != (entry.lr_px[0] * ratio, entry.lr_px[1] * ratio)
    if faults and (strict or not sound):
        told = [
            text if str(pair.hr) in text or str(pair.lr) in text else f"{pair.name}: {text}" for pair, text in faults
        ]
        raise DataError(
            f"{len(faults)} of {plural(len(pairs), 'pair')} of the {role} data in {pairs.root} cannot be used: "
            f"{list_some(told, _NAMED_FAULTS, '; ')}",
            "repair, replace or remove them, on both sides",
        )
    notes = list(pairs.notes)
    if trimmed:
        notes.append(f"{plural(trimmed, 'pair')} trimmed at the right and bottom to fit x{ratio}")
    taken = [(pair, entry) for pair, entry in sound if not entry.is_result]
    if not taken:
        progress.warn(f"all photos of the {role} data in {pairs.root} are results of upscale, not the camera's")
    used = taken or sound
    known = [
        replace(pair, facts=PairFacts(entry.lr_px, entry.hr_px, entry.lr_print, entry.hr_print)) for pair, entry in used
    ]
    whole = pairs.keep([pair for pair, _ in sound], "of pairs that cannot be used")
    kept = whole.keep(known, RESULT)
    return Checked(
        replace(kept, ratio=ratio, notes=tuple(notes), faults=tuple((pair.name, text) for pair, text in faults)),
        tuple(entry.alignment if alignment else None for _, entry in used),
    )


def refuse_small(sets: Sequence[PairSet], scale: int) -> None:
    """Refuse images to train on or to watch that no crop can be scored of, once the network's factor is known.

    Args:
        sets: As checked.
        scale: HR pixels per LR pixel.

    Raises:
        DataError: They are counted, and the first three named.
    """
    least_px = _LEAST_LR_PX * scale
    files = {pair.hr: pair.facts.hr_px for pairs in sets for pair in pairs.pairs if pair.facts is not None}
    small = [
        f"{path} has {width} x {height} px" for path, (width, height) in files.items() if min(width, height) < least_px
    ]
    if small:
        raise DataError(
            f"{len(small)} of {plural(len(files), 'image')} {agree(len(small), 'are')} too small to train on x{scale}: "
            f"{list_some(small, _NAMED_FAULTS)}",
            f"leave them out; {least_px} x {least_px} px of HR is the least",
        )


def _wrong_sizes(entry: PairMeasure, ratio: int) -> str:
    if times := times_larger(entry.lr_px, entry.hr_px):
        return f"{entry}: the LR side is {times} times the HR side, they are exchanged"
    return f"{entry} is not x{ratio}"


def _measure_all(pairs: PairSet, progress: Progress, *, alignment: bool) -> list[PairMeasure | str]:
    """The measures of all pairs, from the cache where nothing changed; a text where a file is damaged."""
    place = _cache_place(pairs)
    known = _read_cache(place)
    stamps = [_stamp_pair(pair) for pair in pairs.pairs]
    results: list[PairMeasure | str | None] = []
    for stamp in stamps:
        entry = known.get(_key(*stamp)) if not isinstance(stamp, str) else None
        usable = entry is not None and (not alignment or entry.lr is None or entry.alignment is not None)
        results.append(stamp if isinstance(stamp, str) else entry if usable else None)
    waiting = [index for index, result in enumerate(results) if result is None]

    def measure(index: int) -> PairMeasure | str:
        stamp = stamps[index]
        assert not isinstance(stamp, str)
        return _measure(pairs.pairs[index], *stamp, alignment=alignment)

    workers = max(1, min(8, os.cpu_count() or 1))
    try:
        with progress.task("checking images", len(pairs), unit="pair") as task, ThreadPoolExecutor(workers) as pool:
            task.skip(len(pairs) - len(waiting))
            try:
                for index, result in zip(waiting, pool.map(measure, waiting), strict=True):
                    results[index] = result
                    task.advance()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)  # Ctrl-C must not wait for thousands of images
    finally:
        # Whatever ended it: what was measured need not be measured again.
        fresh = [results[index] for index in waiting]
        _write_cache(place, pairs.root, known, [entry for entry in fresh if isinstance(entry, PairMeasure)], progress)
    return [result for result in results if result is not None]


def _measure(pair: Pair, lr_stamp: FileStamp | None, hr_stamp: FileStamp, *, alignment: bool) -> PairMeasure | str:
    """The measures of a pair after decoding it, or what is wrong with it."""
    try:
        hr = read_rgb(pair.hr)
        lr = read_rgb(pair.lr) if pair.lr is not None else None
        lr_print, hr_print = pair_fingerprints(replace(pair, facts=None))
    except (ImageError, DataError) as error:
        return error.message
    hr_px = (hr.shape[1], hr.shape[0])
    lr_px = (0, 0) if lr is None else (lr.shape[1], lr.shape[0])
    ratio = ratio_of(lr_px, hr_px)
    measured = measure_alignment(lr, hr, ratio) if alignment and lr is not None and ratio is not None else None
    return PairMeasure(
        lr=lr_stamp,
        hr=hr_stamp,
        lr_print=lr_print,
        hr_print=hr_print,
        lr_px=lr_px,
        hr_px=hr_px,
        alignment=measured,
        is_result=pair.lr is None and read_mark(pair.hr) is not None,
    )


def _stamp_pair(pair: Pair) -> tuple[FileStamp | None, FileStamp] | str:
    """The stamps of both files, or what is wrong."""
    try:
        return (_stamp(pair.lr) if pair.lr is not None else None), _stamp(pair.hr)
    except OSError as error:
        return f"cannot read {error.filename}: {error.strerror or error}"


def _stamp(path: Path) -> FileStamp:
    state = path.stat()
    return FileStamp(path=readable(path.absolute()), bytes=state.st_size, mtime_ns=state.st_mtime_ns)


_Key = tuple[tuple[str, int, int] | None, tuple[str, int, int]]


def _key(lr: FileStamp | None, hr: FileStamp) -> _Key:
    return (None if lr is None else (lr.path, lr.bytes, lr.mtime_ns)), (hr.path, hr.bytes, hr.mtime_ns)


def _cache_place(pairs: PairSet) -> Path:
    name = hashlib.sha256(f"{_CHECKS}\n{pairs.root.resolve()}".encode(errors="surrogateescape")).hexdigest()[:16]
    return cache_dir() / "preflight" / f"{name}.json"


def _read_cache(place: Path) -> dict[_Key, PairMeasure]:
    """What is known; nothing where the file is missing or damaged, since everything can be measured anew."""
    if not place.exists():
        return {}
    try:
        record = read_document(place, PreflightRecord)
    except ArtifactError:
        return {}
    return {_key(entry.lr, entry.hr): entry for entry in record.pairs}


def _write_cache(
    place: Path, root: Path, known: dict[_Key, PairMeasure], fresh: Sequence[PairMeasure], progress: Progress
) -> None:
    """Add what is new; what was known of the same files in another state, or of files that are gone, is dropped."""
    if not fresh:
        return
    replaced = {(entry.lr.path if entry.lr else None, entry.hr.path) for entry in fresh}
    kept = [
        entry
        for entry in known.values()
        if (entry.lr.path if entry.lr else None, entry.hr.path) not in replaced and _exists(entry)
    ]
    record = PreflightRecord(root=str(root.resolve()), pairs=(*kept, *fresh))
    try:
        write_document(place, record)
    except AdaptsrError as error:
        progress.warn(f"the images will be checked again next time: {error.message}")


def _exists(entry: PairMeasure) -> bool:
    with suppress(OSError):
        return Path(entry.hr.path).exists()
    return False
