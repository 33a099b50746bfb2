"""Which photographs belong together: one wide and one tele photograph of one scene each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adaptsr_cli.errors import AdaptsrError, UsageError
from adaptsr_cli.io.formats.table import READ_SUFFIXES
from adaptsr_cli.io.path_lists import find_listed, read_path_list
from adaptsr_cli.io.photographs import read_facts
from adaptsr_cli.io.result_mark import leave_out_results
from adaptsr_cli.io.shot_exif import ShotFacts

MOST_APART_S: Final = 180.0
"""Longest pause between two photographs of one scene; the next scene is seldom reached sooner with a tripod."""
_BURST_S: Final = 3.0
_LEAST_ZOOM: Final = 1.25
_SAME_FOCAL: Final = 0.05
_NEIGHBOURS: Final = 3  # without EXIF: how far apart in the order of names two photographs of one scene may be


@dataclass(frozen=True)
class Candidate:
    """A photograph whose header was read."""

    path: Path
    facts: ShotFacts

    @property
    def focal(self) -> float | None:
        """Focal length on 24 x 36 mm, else the plain one, which is as good for comparing photographs of one body."""
        return self.facts.focal_35_mm or self.facts.focal_mm


@dataclass(frozen=True)
class ShotFiles:
    """Files that may make one shot.

    Attributes:
        name: For its blocks.
        wide: One, or a burst of which the sharpest is taken.
        tele: The same.
    """

    name: str
    wide: tuple[Path, ...]
    tele: tuple[Path, ...]


@dataclass(frozen=True)
class Matched:
    """What a folder holds.

    Attributes:
        shots: To be registered.
        alone: Photographs without a partner.
    """

    shots: tuple[ShotFiles, ...]
    alone: tuple[Path, ...]


def find_shots(
    places: Sequence[Path],
    list_file: Path | None,
    look: Callable[[Path, Path], float | None],
    tell: Callable[[Path, AdaptsrError], None],
) -> Matched:
    """The shots among files and folders.

    Args:
        places: Two files, WIDE and TELE; or any number of files and folders.
        list_file: A table in their place: a line is WIDE and TELE, divided by a comma or a tab.
        look: ``look(first, second)``: tele pixels per wide pixel by the content; None where they do not match. Asked
            only about photographs of which EXIF does not tell enough.
        tell: Told of each file of a folder that cannot be read; it belongs to no shot.

    Raises:
        UsageError: No photograph, no shot, or a line that cannot be read.
    """
    if list_file is not None:
        if places:
            raise UsageError("both photographs and `list_file` are given", "give one of them")
        return Matched(_name_shots(_read_list(list_file)), ())
    if not places:
        raise UsageError(
            "no photographs", "name two, WIDE and TELE, or a folder of shots: adaptsr pair wide.jpg tele.jpg"
        )
    for place in places:
        if not place.exists():
            raise UsageError(f"{place} does not exist", "check the path")
    if len(places) == 2 and all(place.is_file() for place in places):
        return Matched(_name_shots([((places[0],), (places[1],))]), ())
    listed = [file for place in places for file in (_list_photos(place) if place.is_dir() else [place])]
    files = list({file.resolve(): file for file in listed}.values())  # a folder and a file in it may be named
    found = []
    for path in files:
        try:
            found.append(Candidate(path, read_facts(path)))
        except AdaptsrError as error:
            tell(path, error)
    if len(found) < 2:
        readable = " that can be read" if len(found) < len(files) else ""
        raise UsageError(
            f"{places[0]} has {'one photograph' if found else 'no photograph'}{readable}",
            "two are needed, WIDE and TELE",
        )
    return match_photographs(found, look)


def match_photographs(found: Sequence[Candidate], look: Callable[[Path, Path], float | None]) -> Matched:
    """Match by time and focal length, and by content what EXIF does not tell of.

    Photographs of one camera that follow each other within `MOST_APART_S` are one scene. The shortest focal length in
    it is the wide side, every longer one a tele side, and photographs of one focal length within a few seconds a burst.

    Args:
        found: The photographs.
        look: See `find_shots`.
    """
    told = [c for c in found if c.facts.taken is not None and c.focal is not None]
    silent = [c for c in found if c.facts.taken is None or c.focal is None]
    pairs: list[tuple[tuple[Path, ...], tuple[Path, ...]]] = []
    used: set[Path] = set()
    for scene in _split_scenes(told):
        shortest = min(_focal(c) for c in scene)
        lengths: list[list[Candidate]] = []
        for candidate in sorted(scene, key=lambda c: (_focal(c), _second(c))):
            if lengths and _focal(candidate) / _focal(lengths[-1][0]) < 1 + _SAME_FOCAL:
                lengths[-1].append(candidate)
            else:
                lengths.append([candidate])
        wides = _split_bursts(lengths[0])
        for teles in lengths[1:]:
            if _focal(teles[0]) / shortest < _LEAST_ZOOM:
                continue
            for burst in _split_bursts(teles):
                near = min(wides, key=lambda wide: abs(_second(wide[0]) - _second(burst[0])))
                pairs.append((tuple(c.path for c in near), tuple(c.path for c in burst)))
                used |= {c.path for c in (*near, *burst)}
    for first, second in _match_contents([c.path for c in silent], look):
        pairs.append(((first,), (second,)))
        used |= {first, second}
    if not pairs:
        raise UsageError(
            f"none of the {len(found)} photographs belong together: no two were taken within {MOST_APART_S:.0f} s at "
            f"focal lengths that differ by {_LEAST_ZOOM} or more, or show the same scene",
            "name a shot's two files, or give a table with `list_file`",
        )
    return Matched(_name_shots(pairs), tuple(c.path for c in found if c.path not in used))


def _split_scenes(found: Sequence[Candidate]) -> list[list[Candidate]]:
    scenes: list[list[Candidate]] = []
    for candidate in sorted(found, key=lambda c: (c.facts.camera or "", _second(c), c.path.name)):
        last = scenes[-1][-1] if scenes else None
        together = (
            last is not None
            and last.facts.camera == candidate.facts.camera
            and _second(candidate) - _second(last) <= MOST_APART_S
        )
        if together:
            # A return to a focal length that was left behind is the next scene: wide, tele, wide, tele.
            focals = [_focal(c) for c in scenes[-1]]
            went_on = abs(focals[-1] / _focal(candidate) - 1) > _SAME_FOCAL
            seen = any(abs(focal / _focal(candidate) - 1) < _SAME_FOCAL for focal in focals[:-1])
            together = not (went_on and seen)
        if together:
            scenes[-1].append(candidate)
        else:
            scenes.append([candidate])
    return [scene for scene in scenes if len(scene) > 1]


def _split_bursts(found: Sequence[Candidate]) -> list[list[Candidate]]:
    bursts: list[list[Candidate]] = []
    for candidate in sorted(found, key=_second):
        if bursts and _second(candidate) - _second(bursts[-1][-1]) <= _BURST_S:
            bursts[-1].append(candidate)
        else:
            bursts.append([candidate])
    return bursts


def _match_contents(paths: Sequence[Path], look: Callable[[Path, Path], float | None]) -> list[tuple[Path, Path]]:
    """Pairs among photographs without EXIF, each in one pair, among neighbours in the order of names."""
    order = sorted(paths)
    free = set(order)
    pairs = []
    for index, path in enumerate(order):
        if path not in free:
            continue
        for other in order[index + 1 : index + 1 + _NEIGHBOURS]:
            if other not in free:
                continue
            zoom = look(path, other)
            if zoom is not None and (zoom >= _LEAST_ZOOM or zoom <= 1 / _LEAST_ZOOM):
                pairs.append((path, other) if zoom > 1 else (other, path))
                free -= {path, other}
                break
    return pairs


def _list_photos(folder: Path) -> list[Path]:
    """The photographs in a folder; what ``adaptsr upscale`` has made of them has their EXIF and is none."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"cannot read the folder {folder}: {error.strerror or error}", "check the path") from error
    photographs = [path for path in entries if path.suffix.lower() in READ_SUFFIXES and path.is_file()]
    return leave_out_results([path for path in photographs if not path.name.startswith((".", "__MACOSX"))])


def _read_list(list_file: Path) -> list[tuple[tuple[Path, ...], tuple[Path, ...]]]:
    try:
        lines = read_path_list(str(list_file))
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UsageError(
            f"cannot read `list_file` {list_file}: {reason}", "give a text file: WIDE, TELE on each line"
        ) from error
    pairs: list[tuple[tuple[Path, ...], tuple[Path, ...]]] = []
    line_of: dict[frozenset[Path], int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = [cell.strip() for cell in (line.split("\t") if "\t" in line else line.split(","))]
        if len(cells) != 2 or not all(cells):
            raise UsageError(
                f"`list_file` {list_file}, line {number}: {line.strip()!r} is not a pair of files",
                "write WIDE, TELE, divided by a comma or a tab",
            )
        # Beside the table, as one would expect of a table that is moved together with its photographs.
        paths = [find_listed(cell, [list_file.parent])[0] for cell in cells]
        for path in paths:
            if not path.is_file():
                what = "is no file" if path.exists() else "does not exist"
                raise UsageError(f"`list_file` {list_file}, line {number}: {path} {what}", "check the path")
        shot = frozenset(path.resolve() for path in paths)
        if len(shot) < 2:
            raise UsageError(f"`list_file` {list_file}, line {number} names one file twice", "name WIDE and TELE")
        if (first := line_of.setdefault(shot, number)) != number:
            raise UsageError(
                f"`list_file` {list_file}, lines {first} and {number} name the same two files", "keep one of the lines"
            )
        pairs.append(((paths[0],), (paths[1],)))
    if not pairs:
        raise UsageError(f"`list_file` {list_file} names no shot", "write WIDE, TELE on each line")
    return pairs


def _name_shots(pairs: Sequence[tuple[tuple[Path, ...], tuple[Path, ...]]]) -> tuple[ShotFiles, ...]:
    """Names that tell both files and are not used twice."""
    shots = []
    taken: set[str] = set()
    for wide, tele in pairs:
        base = name = "_".join(path.stem.replace(" ", "-") for path in (wide[0], tele[0]))
        number = 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        shots.append(ShotFiles(name, wide, tele))
    return tuple(shots)


def _focal(candidate: Candidate) -> float:
    assert candidate.focal is not None
    return candidate.focal


def _second(candidate: Candidate) -> float:
    assert candidate.facts.taken is not None
    return candidate.facts.taken.timestamp()
