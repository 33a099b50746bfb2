"""Pairs named by the user: two folders, one a side, or a list of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from adaptsr_cli.data.folders import read_folder
from adaptsr_cli.data.layouts import Pair, PairSet, check_folder, no_images, read_ratio
from adaptsr_cli.data.matching import match_files
from adaptsr_cli.errors import DataError, ImageError
from adaptsr_cli.io.contents import Contents
from adaptsr_cli.io.images import image_size
from adaptsr_cli.io.path_lists import find_listed, read_path_list
from adaptsr_cli.units import readable

_LINE_HINT = "a line is `HR, LR` (comma or tab between) or the path of a photo, relative to the list's folder"
_LOOK_AT = 20


def pair_folders(hr: Path, lr: Path) -> PairSet:
    """Pairs the images below two folders by their names, whatever the folders are called.

    Args:
        hr: The HR side.
        lr: The LR side.

    Raises:
        DataError: A folder is missing, empty or the other one too; half pairs.
    """
    sides: list[tuple[tuple[str, Path], ...]] = []
    others: list[Contents] = []
    for folder in (hr, lr):
        check_folder(folder)
        contents = read_folder(folder)
        others.append(contents)
        tree = contents.images
        if not tree:
            raise no_images(folder, contents, "name the two folders that hold the sides of the pairs")
        sides.append(tuple(("".join(f"{part}/" for part in parts), path) for parts in tree for path in tree[parts]))
    if hr.resolve() == lr.resolve():
        raise DataError(f"`hr_dir` and `lr_dir` are both {hr}", "name it by `data` if one folder holds both sides")
    unread = [path for contents in others for group in contents.unread() for path in group.paths]
    pairs = tuple(Pair(*files) for files in match_files(sides[1], sides[0], unread))
    ratio = read_ratio(pairs, "exchange `hr_dir` and `lr_dir`")
    layout = _describe_layout(f"HR {readable(hr.name or hr)}, LR {readable(lr.name or lr)}", ratio)
    left_out = tuple(group for contents in others for group in contents.left_out())
    return PairSet(hr, layout, pairs, ratio, "all", left_out=left_out)


def read_list(path: Path) -> PairSet:
    """Read a list: one pair a line, or one photograph a line.

    The two files of a pair stand behind one another, with a comma or a tab between. Which column is the HR side is
    told by the sizes of the first 20 lines; where both are of one size it is the first, as in the lists that
    Real-ESRGAN's scripts write. Paths are relative to the folder of the list. Empty lines and lines that begin with
    ``#`` are left out. The list may be in any encoding and have any line ends; see `adaptsr_cli.io.path_lists`.

    Raises:
        DataError: The list cannot be read or is empty, or a line is wrong; the line is named by its number.
    """
    try:
        lines = read_path_list(str(path))
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise DataError(f"cannot read the list {path}: {reason}", _LINE_HINT) from error
    rows: list[tuple[Path, ...]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        row = _read_line(path, number, line.strip())
        if rows and len(row) != len(rows[0]):
            kinds = {1: "a photo", 2: "a pair"}
            raise DataError(
                f"{path}, line {number} names {kinds[len(row)]}, the lines before it {kinds[len(rows[0])]}",
                "keep pairs and photos in two lists",
            )
        rows.append(row)
    if not rows:
        raise DataError(f"the list {path} names no images", _LINE_HINT)
    if len(rows[0]) == 2 and not _first_is_hr(rows):
        rows = [(second, first) for first, second in rows]
    pairs = _name_rows(path, rows)
    if len(rows[0]) == 1:
        return PairSet(path, "photos of a list", pairs, None, "all")
    ratio = read_ratio(pairs)
    return PairSet(path, _describe_layout("pairs of a list", ratio), pairs, ratio, "all")


def _read_line(place: Path, number: int, line: str) -> tuple[Path, ...]:
    """The one or two files of a line."""
    whole, _ = find_listed(line, [place.parent])
    if _is_file(whole):
        return (whole,)
    names = [name.strip() for name in line.split("\t" if "\t" in line else ",")]
    if len(names) > 2 or not all(names):
        raise DataError(f"{place}, line {number} is neither a pair nor a photo: {line!r}", _LINE_HINT)
    paths = tuple(find_listed(name, [place.parent])[0] for name in names)
    for path in paths:
        if not _is_file(path):
            raise DataError(f"{place}, line {number}: there is no file {path}", _LINE_HINT)
    if len(paths) == 2 and paths[0] == paths[1]:
        raise DataError(f"{place}, line {number} names one file twice", _LINE_HINT)
    return paths


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or no name at all
        return False


def _first_is_hr(rows: Sequence[tuple[Path, ...]]) -> bool:
    """Whether the first column holds the larger images, or both hold images of one size."""
    votes: Counter[bool] = Counter()
    for first, second in rows[:_LOOK_AT]:
        try:
            sizes = image_size(first), image_size(second)
        except ImageError:
            continue  # the check of all pairs will name it
        if sizes[0] != sizes[1]:
            votes[sizes[0][0] * sizes[0][1] > sizes[1][0] * sizes[1][1]] += 1
    return votes[True] >= votes[False]


def _name_rows(place: Path, rows: Sequence[tuple[Path, ...]]) -> tuple[Pair, ...]:
    """Pairs named by the HR file, with its folders where a name comes twice; sorted by name.

    Raises:
        DataError: One HR file stands in two lines.
    """
    often = Counter(row[0].stem for row in rows)
    pairs = []
    for row in rows:
        hr, lr = row[0], row[1] if len(row) == 2 else None
        name = hr.stem if often[hr.stem] == 1 else _relative(hr, place.parent)
        pairs.append(Pair(readable(name), lr, hr))
    names = Counter(pair.name for pair in pairs)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise DataError(f"{place} names {twice[0]} twice", "keep one of the lines")
    return tuple(sorted(pairs, key=lambda pair: pair.name))


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


def _describe_layout(text: str, ratio: int) -> str:
    return f"{text}, same-size pairs" if ratio == 1 else f"{text}, x{ratio}"
