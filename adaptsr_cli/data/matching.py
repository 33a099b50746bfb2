"""The two sides of pairs, joined by the names of their files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptsr_cli.data.names import plain_name, read_file_name
from adaptsr_cli.errors import DataError
from adaptsr_cli.units import list_some, plural

NamedFiles = Sequence[tuple[str, Path]]
"""The files of one side, each with what goes before its name (folders below the side)."""


def match_files(lr: NamedFiles, hr: NamedFiles, unread: Iterable[Path] = ()) -> tuple[tuple[str, Path, Path], ...]:
    """Pairs the files by equal names, or by names without side and scale, whichever leaves fewer alone.

    Args:
        lr: The files of the LR side.
        hr: The files of the HR side.
        unread: Files in the same folders whose type is not read, one of which may be the other side of an image.

    Returns:
        Name, LR and HR file of each pair, sorted by name.

    Raises:
        DataError: A file without the other side, or two files of one name.
    """
    exact = _match_names(lr, hr, strip=False)
    stripped = _match_names(lr, hr, strip=True)
    best = exact if len(exact.alone) <= len(stripped.alone) else stripped
    if best.twice:
        name, first, second = best.twice[0]
        raise DataError(
            f"{first} and {second} would both be {name!r}; {plural(len(best.twice), 'such name')}",
            "move one of each away or give each its own name",
        )
    if best.alone:
        types = {plain_name(read_file_name(path.stem).key): path for path in unread}
        told = [_name_alone(alone, types.get(plain_name(read_file_name(alone.path.stem).key))) for alone in best.alone]
        raise DataError(
            f"{plural(len(told), 'image')} in {_places_of(best.alone)} without the other side: {list_some(told)}",
            "convert the other side to PNG, or move these away"
            if any("not read" in text for text in told)
            else "give both sides the same file names, or move these away",
        )
    return tuple(best.pairs)


@dataclass(frozen=True)
class _Alone:
    """An image without its other side, ``LR`` or ``HR``."""

    path: Path
    side: str


def _places_of(images: Sequence[_Alone]) -> str:
    """The folder of each side in which they lie."""
    folders: dict[str, list[Path]] = {}
    for alone in images:
        folders.setdefault(alone.side, []).append(alone.path.parent)
    return " and ".join(dict.fromkeys(os.path.commonpath(own) for own in folders.values()))


def _name_alone(alone: _Alone, other: Path | None) -> str:
    found = f"; {other.name} is there, but {other.suffix.lower()} is not read" if other is not None else ""
    return f"{alone.path.name} ({alone.side}{found})"


@dataclass(frozen=True)
class _Joined:
    pairs: list[tuple[str, Path, Path]]
    alone: list[_Alone]
    twice: list[tuple[str, Path, Path]]


def _match_names(lr: NamedFiles, hr: NamedFiles, *, strip: bool) -> _Joined:
    twice: list[tuple[str, Path, Path]] = []
    sides: list[dict[str, Path]] = []
    for files in (lr, hr):
        named: dict[str, Path] = {}
        for prefix, path in files:
            name = plain_name(prefix + (read_file_name(path.stem).key if strip else path.stem))
            if name in named:
                twice.append((name, named[name], path))
            named[name] = path
        sides.append(named)
    lr_named, hr_named = sides
    both = sorted(lr_named.keys() & hr_named.keys())
    pairs = [(name, lr_named[name], hr_named[name]) for name in both]
    alone = [_Alone(lr_named[name], "LR") for name in sorted(lr_named.keys() - hr_named.keys())]
    alone += [_Alone(hr_named[name], "HR") for name in sorted(hr_named.keys() - lr_named.keys())]
    return _Joined(pairs, alone, twice)
