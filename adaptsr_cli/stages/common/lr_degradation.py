"""Deciding how the LR side of photographs is made, once for all stages of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from adaptsr_cli.artifacts.camera import CameraEstimate
from adaptsr_cli.artifacts.degradation import Degradation, DegradationRecord
from adaptsr_cli.artifacts.transfer import PairEstimate, TransferEstimate
from adaptsr_cli.data.layouts import PairSet, fit_scale
from adaptsr_cli.data.pairs import PairReader
from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import DataError, OutputExistsError, UsageError
from adaptsr_cli.imaging.degradation_presets import DEGRADATIONS, find_degradation
from adaptsr_cli.imaging.estimate import degradation_of, estimate_camera
from adaptsr_cli.io.documents import read_document, write_document
from adaptsr_cli.io.hashing import file_fingerprint
from adaptsr_cli.io.images import list_images
from adaptsr_cli.io.result_mark import leave_out_results
from adaptsr_cli.progress import Progress
from adaptsr_cli.stages.common.run_folder import RunFolder
from adaptsr_cli.stages.common.splitting import PairSets
from adaptsr_cli.stages.common.training_data import BY_PAIRS
from adaptsr_cli.units import plural

AUTO: Final = "auto"
DEFAULT_TO_SCORE_ON: Final = "bicubic"
_MOST_PAIRS: Final = 64
_FOUND_OUT: Final = (AUTO, f"{AUTO}:FOLDER", BY_PAIRS)


def choose_degradation(
    run: RunFolder,
    sets: PairSets,
    name: str | None,
    progress: Progress,
    *,
    scale: int,
    seed: int,
    force: bool,
    world: World = SINGLE_PROCESS,
) -> Degradation | None:
    """The degradation for the photographs among the training sets, kept as ``degradation.json`` of the run.

    Args:
        run: The run folder; what an earlier stage decided there holds for the later ones.
        sets: What is trained on; ``auto`` looks at the photographs among them.
        name: A preset, ``auto`` for what the training photographs look like, ``auto:FOLDER`` for what the camera's
            photographs in that folder look like, ``pairs`` for what the real pairs among the sets show of it, the path
            of a ``degradation.json``, or None for the run's, else ``auto``.
        progress: Told what was decided.
        scale: HR pixels per LR pixel.
        seed: Of the choice of photographs that ``auto`` looks at.
        force: Decide anew.
        world: The processes at work; only the first one writes.

    Returns:
        None where all LR sides are real.

    Raises:
        UsageError: No such preset or folder, or ``pairs`` where there are none.
        DataError: The two sides of the pairs show different things.
        ArtifactError: The file is no degradation.
        OutputExistsError: The run was begun with another degradation.
    """
    photos = [pair.hr for pairs in sets if pairs.ratio is None for pair in pairs.pairs]
    if not photos:
        if name is not None:
            progress.note(tell_unused(name))
        return None
    with world.rank_zero_first():
        known = read_document(run.degradation, DegradationRecord) if run.degradation.exists() and not force else None
        record = _decide(run, known, sets, photos, name, progress, scale=scale, seed=seed)
        if known is not None and known.degradation != record.degradation:
            raise _begun_otherwise(run, known, name)
        if known is None and world.is_main_process:
            write_document(run.degradation, record)
    progress.note(f"LR side of the photos: degradation {record.degradation.name!r}")
    if record.degradation.name == "realesrgan":
        progress.note("Real-ESRGAN's degradation lowered the PSNR of every network tried on photos of a real camera")
    return record.degradation


def tell_unused(name: str) -> str:
    """That a degradation was named for pairs, which need none.

    Raises:
        AdaptsrError: As `refuse_unknown`.
    """
    refuse_unknown(name)
    if name == BY_PAIRS:
        return "`degrade` pairs is not used: add a folder of sharp photos by `data`, to be degraded as the pairs are"
    return (
        f"`degrade` {name} is not used: the pairs have LR images of their own (name only the HR folder by `data` to "
        "have them made)"
    )


def refuse_unknown(name: str) -> None:
    """Refuse a degradation that there is not, also where none is needed.

    Raises:
        UsageError: There is no such preset or folder.
        ArtifactError: The file is no degradation.
    """
    if is_auto(name):
        _camera_photos(name)
    elif name != BY_PAIRS:
        _named(name, _FOUND_OUT)


def _begun_otherwise(run: RunFolder, known: DegradationRecord, name: str | None) -> OutputExistsError:
    return OutputExistsError(
        f"{run.root} was begun with {_describe(known, name)}, not with `degrade` {name}",
        "leave `degrade` out to continue, or start again with `force` or another `run`",
    )


def _describe(known: DegradationRecord, name: str | None) -> str:
    """What a run was begun with, where that is not what is named now."""
    if known.camera is not None and is_auto(name):
        return "the camera of other photographs"
    return f"the degradation {known.degradation.name!r}"


def _decide(
    run: RunFolder,
    known: DegradationRecord | None,
    sets: PairSets,
    photos: list[Path],
    name: str | None,
    progress: Progress,
    *,
    scale: int,
    seed: int,
) -> DegradationRecord:
    if known is not None and name is None:
        return known
    name = name or AUTO
    if name == BY_PAIRS:
        if known is not None and isinstance(known.estimate, PairEstimate):
            return known
        return _measure_pairs([pairs for pairs in sets if pairs.ratio is not None], progress, scale=scale, seed=seed)
    if not is_auto(name):
        return _named(name, _FOUND_OUT)
    cameras = _camera_photos(name)
    if known is not None:
        if not _is_of(known, cameras):
            raise _begun_otherwise(run, known, name)
        return known
    if not cameras:
        return _measure_statistics(photos, progress, seed=seed)
    record = _measure_camera(cameras, photos, progress, scale=scale, seed=seed)
    return record.model_copy(update={"camera": _identify(cameras)})


def _is_of(known: DegradationRecord, cameras: list[Path]) -> bool:
    """Whether it was measured on these photographs of a camera; where there are none, on the training photographs."""
    if not cameras:
        return known.camera is None and isinstance(known.estimate, CameraEstimate)
    # Older versions did not write down on which ones.
    return known.camera == _identify(cameras) or (known.camera is None and isinstance(known.estimate, TransferEstimate))


def _identify(photos: list[Path]) -> str:
    """An identity of photographs, whatever folder they lie in."""
    return hashlib.sha256("".join(sorted(map(file_fingerprint, photos))).encode()).hexdigest()[:16]


def _measure_statistics(photos: list[Path], progress: Progress, *, seed: int) -> DegradationRecord:
    """By noise, JPEG quality and blur of photographs, with nothing to compare them with."""
    estimate = estimate_camera(photos, progress, seed=seed)
    progress.note(estimate.describe())
    return DegradationRecord(degradation=degradation_of(estimate), estimate=estimate)


def _measure_camera(
    cameras: list[Path], sharp: list[Path], progress: Progress, *, scale: int, seed: int
) -> DegradationRecord:
    """By the camera's photographs beside the sharp ones; by the camera's alone where too few are large enough."""
    # It takes half a second to import what only this needs.
    from adaptsr_cli.imaging.measure_camera import degradation_of_camera, measure_camera

    try:
        estimate = measure_camera(cameras, sharp, scale, progress, seed=seed)
    except DataError as error:
        progress.note(
            f"the camera is not compared with `data`: {error}; its noise, JPEG quality and blur are measured alone"
        )
        return _measure_statistics(cameras, progress, seed=seed)
    _tell_camera(estimate, progress)
    return DegradationRecord(degradation=degradation_of_camera(estimate, scale), estimate=estimate)


def _measure_pairs(sets: list[PairSet], progress: Progress, *, scale: int, seed: int) -> DegradationRecord:
    """By real pairs, of which so many are looked at as tell enough."""
    # It takes half a second to import what only this needs.
    from adaptsr_cli.imaging.from_pairs import estimate_from_pairs
    from adaptsr_cli.imaging.measure_camera import degradation_of_pairs

    if not sets:
        raise UsageError(
            f"`degrade` {BY_PAIRS}: all of `data` are photos, with no real LR side",
            "name a folder of pairs by `data` too, or use auto:FOLDER with LR photos of the camera",
        )
    readers = [PairReader(fit_scale(pairs, scale), scale=scale) for pairs in sets]
    places = [(reader, index) for reader in readers for index in range(len(reader))]
    chosen = np.random.default_rng(seed % (1 << 64)).permutation(len(places))[:_MOST_PAIRS]
    pairs = []
    with progress.task("measuring the camera", len(chosen), unit="pair") as task:
        for number in sorted(chosen):
            reader, index = places[number]
            lr, hr = reader.read(index)
            pairs.append((hr, lr))
            task.advance()
        estimate = estimate_from_pairs(pairs, scale)
    progress.note(f"from {estimate.describe_source()}: {estimate.describe()}")
    return DegradationRecord(degradation=degradation_of_pairs(estimate, scale), estimate=estimate)


def _tell_camera(estimate: TransferEstimate, progress: Progress) -> None:
    """Say in a photographer's words what was found, how sure it is, and what would help."""
    progress.note(f"from {plural(estimate.photographs, 'photo')}: {estimate.describe()}")
    progress.note(
        f"also possible: {estimate.describe_spread()}; the training undoes the least of these. What it gains on this "
        "camera is uncertain, and it may lose a little: a few real pairs (`adaptsr pair`) are surer"
    )
    if not estimate.trustworthy:
        progress.warn(
            "this estimate of the camera is not to be relied on. Add photos of the camera (20 or more, of varied "
            "scenes with fine detail), or make pairs with `adaptsr pair`"
        )


def is_auto(name: str | None) -> bool:
    """Whether this degradation is found out from photographs; left out, it is."""
    return name is None or name == AUTO or name.startswith(f"{AUTO}:")


def is_found_out(name: str | None) -> bool:
    """Whether this degradation is found out, from photographs or from pairs."""
    return is_auto(name) or name == BY_PAIRS


def _camera_photos(name: str) -> list[Path]:
    """The photographs of ``auto:FOLDER``; none for ``auto``."""
    if name == AUTO:
        return []
    folder = Path(name.removeprefix(f"{AUTO}:"))
    found = list_images(folder, recursive=True) if folder.is_dir() else []
    if not found:
        raise UsageError(f"`degrade` {AUTO}:{folder}: no photos there", "name a folder of the camera's photos")
    return leave_out_results(found)


def named_degradation(name: str) -> Degradation:
    """A preset, or what a ``degradation.json`` holds.

    Raises:
        UsageError: Neither.
        ArtifactError: The file is no degradation.
    """
    return _named(name).degradation


def _named(name: str, others: Sequence[str] = ()) -> DegradationRecord:
    """A preset, or a file with the estimate that its degradation was centred on; `others` could be meant besides."""
    path = Path(name)
    if name not in DEGRADATIONS and (path.suffix == ".json" or path.is_file()):
        return read_document(path, DegradationRecord)
    return DegradationRecord(degradation=find_degradation(name, others), estimate=None)


def run_degradation(run: RunFolder, sets: PairSets, name: str | None) -> Degradation | None:
    """The degradation for photographs to be scored on: as named, else the run's, else the usual bicubic.

    Raises:
        UsageError: No such preset or folder, or one is to be found out that the run has not.
        ArtifactError: The file is no degradation.
    """
    if all(pairs.ratio is not None for pairs in sets):
        return None
    if name is not None and not is_found_out(name):
        return named_degradation(name)
    if not run.degradation.exists():
        if name is not None:
            raise UsageError(
                f"`degrade` {name}: it is found out where a run is trained on photographs, and {run.root} was not",
                f"name {', '.join(DEGRADATIONS)} or a degradation.json",
            )
        return named_degradation(DEFAULT_TO_SCORE_ON)
    known = read_document(run.degradation, DegradationRecord)
    if name is None:
        return known.degradation
    is_it = isinstance(known.estimate, PairEstimate) if name == BY_PAIRS else _is_of(known, _camera_photos(name))
    if not is_it:
        raise UsageError(
            f"{run.root} was begun with {_describe(known, name)}, not with `degrade` {name}",
            f"leave `degrade` out to score with the run's, or name {', '.join(DEGRADATIONS)} or a degradation.json",
        )
    return known.degradation


def degradation_sha256(degradation: Degradation | None) -> str:
    """An identity of a degradation; empty where there is none."""
    return hashlib.sha256(degradation.model_dump_json().encode()).hexdigest() if degradation is not None else ""
