"""Candidate sets of an LR and an HR side in a folder tree, by folder names alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from adaptsr_cli.data.names import FolderName, Side, SplitName, read_file_name, read_folder_name
from adaptsr_cli.io.contents import RESULT, Contents, read_contents
from adaptsr_cli.io.result_mark import read_mark

Tree = dict[tuple[str, ...], list[Path]]
"""The image files of every folder, by the folder's parts below the root."""

_MAX_DEPTH = 6
_PHONES = frozenset({"iphone", "blackberry", "sony"})


@dataclass(frozen=True)
class PairCandidate:
    """One set of pairs that a tree may be meant to be.

    Attributes:
        place: The LR folder below the root, for people.
        lr: The files of the LR side, each with what goes before its name (folders below the side).
        hr: The same of the HR side.
        scale: The factor that the names tell.
        split: The split that the names tell.
        kind: How the LR side was made, as the names tell.
        together: Both sides lie in one folder and are told apart by file names.
        phone: The phone of a DPED set; empty otherwise.
        set_name: The folder that holds both sides.
    """

    place: str
    lr: tuple[tuple[str, Path], ...]
    hr: tuple[tuple[str, Path], ...]
    scale: int | None
    split: SplitName | None
    kind: str = ""
    together: bool = False
    phone: str = ""
    set_name: str = ""


def read_folder(root: Path) -> Contents:
    """All images at most six folders down, and what is left out.

    So are results of ``adaptsr upscale`` that lie beside what they were made of: they would have no other side.

    Raises:
        ImageError: A folder cannot be read.
    """
    contents = read_contents(root, max_depth=_MAX_DEPTH)
    beside = {path for images in contents.images.values() for path in _results_beside_originals(images)}
    contents.set_aside(RESULT, beside)
    return contents


def _results_beside_originals(images: Sequence[Path]) -> Iterator[Path]:
    """Results called like an image that is none, with something behind: ``a_x4.png`` beside ``a.png``, not ``a1.png``.

    Headers are read where names are so alike, and no others.
    """
    is_result = cache(lambda path: read_mark(path) is not None)
    by_stem = {path.stem: path for path in images}
    for path in images:
        heads = [path.stem[:cut] for cut, letter in enumerate(path.stem) if not letter.isalnum()]
        likely = [by_stem[head] for head in heads if head in by_stem]
        if likely and is_result(path) and not all(map(is_result, likely)):
            yield path


def collect_candidates(root: Path, contents: Contents) -> tuple[list[PairCandidate], list[Path]]:
    """The sets of pairs in a folder, and the images that belong to none.

    A root that is itself an LR folder is taken together with the HR folder beside it, which is added to `contents`.
    """
    candidates, leftover = _collect(root, contents.images)
    if not candidates and contents.images:
        return _find_beside(root, contents), []
    return candidates, leftover


@dataclass(frozen=True)
class _Place:
    """A folder that is one side of a set."""

    folder: tuple[str, ...]
    set_name: str
    scale: int | None
    kind: str
    phone: str


def _collect(root: Path, tree: Tree) -> tuple[list[PairCandidate], list[Path]]:
    phones = _find_phones(tree)
    sides: dict[Side, dict[tuple[str, ...], dict[_Place, list[tuple[str, Path]]]]] = {"lr": {}, "hr": {}}
    candidates: list[PairCandidate] = []
    leftover: list[Path] = []
    for parts, files in tree.items():
        names = [read_folder_name(part) for part in parts]
        depth = next((i for i, name in enumerate(names) if name.side or parts[: i + 1] in phones), None)
        if depth is None:
            together, alone = _split_one_folder(root, parts, names, files)
            candidates += together
            leftover += alone
            continue
        side, phone = phones.get(parts[: depth + 1], (names[depth].side, ""))
        assert side is not None
        end = depth + 1
        scale = names[depth].scale
        if end < len(parts) and names[end].scale and parts[end].lower().startswith("x"):
            scale, end = names[end].scale, end + 1
        for name in names[:depth]:  # DRealSR's Train_x4
            scale = scale or name.scale
        prefix = "".join(f"{part}/" for part in parts[end:])
        key = (*parts[:depth], *(() if phone else names[depth].rest))
        set_name = [root.resolve().name, *parts[:depth]][-1]
        place = _Place(parts[:end], set_name, scale, names[depth].kind, phone)
        sides[side].setdefault(key, {}).setdefault(place, []).extend((prefix, path) for path in files)
    if not sides["lr"].keys() & sides["hr"].keys() and len(sides["lr"]) == len(sides["hr"]) == 1:
        # The only LR and the only HR folder go together, whatever else they are called.
        sides["hr"] = {next(iter(sides["lr"])): next(iter(sides["hr"].values()))}
    for key in sorted(sides["lr"].keys() & sides["hr"].keys()):
        for hr_place, hr_files in sides["hr"][key].items():
            for lr_place, lr_files in sides["lr"][key].items():
                candidates.append(_make_candidate(root, lr_place, lr_files, hr_place, hr_files))
    return candidates, leftover


def _make_candidate(
    root: Path,
    lr_place: _Place,
    lr_files: list[tuple[str, Path]],
    hr_place: _Place,
    hr_files: list[tuple[str, Path]],
) -> PairCandidate:
    above = [root.resolve().name, *lr_place.folder]
    return PairCandidate(
        place="/".join(lr_place.folder) or ".",
        lr=tuple(lr_files),
        hr=tuple(hr_files),
        scale=lr_place.scale,
        split=_find_split(above),
        kind=lr_place.kind,
        phone=lr_place.phone or hr_place.phone,
        set_name=lr_place.set_name,
    )


def _split_one_folder(
    root: Path, parts: tuple[str, ...], names: list[FolderName], files: list[Path]
) -> tuple[list[PairCandidate], list[Path]]:
    """RealSR and SelfExSR keep both sides in one folder: ``Canon_001_HR.png``, ``Canon_001_LR4.png``."""
    lr: dict[int | None, list[tuple[str, Path]]] = {}
    hr: list[tuple[str, Path]] = []
    alone: list[Path] = []
    for path in files:
        name = read_file_name(path.stem)
        if name.side == "hr":
            hr.append(("", path))
        elif name.side == "lr":
            lr.setdefault(name.scale, []).append(("", path))
        else:
            alone.append(path)
    if not lr or not hr:
        return [], files
    above = [root.resolve().name, *parts]
    folder_scale = next((name.scale for name in reversed(names) if name.scale), None)
    folder_scale = folder_scale or read_folder_name(above[0]).scale
    place = "/".join(parts) or "."
    found = [
        PairCandidate(
            place if len(lr) == 1 else f"{place} (x{scale})",
            tuple(side),
            tuple(hr),
            scale or folder_scale,
            _find_split(above, root),
            together=True,
        )
        for scale, side in lr.items()
    ]
    return found, alone


def _find_split(above: list[str], root: Path | None = None) -> SplitName | None:
    """The innermost folder that names a split; for RealSR's ``Train/4`` also the folder above the root."""
    if root is not None:
        above = [root.resolve().parent.name, *above]
    for name in reversed(above):
        if split := read_folder_name(name).split:
            return split
    return None


def _find_phones(tree: Tree) -> dict[tuple[str, ...], tuple[Side, str]]:
    """DPED names its sides after the cameras: a phone is LR where ``canon`` lies beside it."""
    folders = {parts[:depth] for parts in tree for depth in range(1, len(parts) + 1)}
    found: dict[tuple[str, ...], tuple[Side, str]] = {}
    for parts in folders:
        phone = parts[-1].lower()
        reference = next(
            (other for other in folders if other[:-1] == parts[:-1] and other[-1].lower() == "canon"), None
        )
        if phone in _PHONES and reference:
            found[parts] = ("lr", phone)
            found[reference] = ("hr", "canon")
    return found


def _find_beside(root: Path, contents: Contents) -> list[PairCandidate]:
    """The sets of which `root` is the LR folder (or its ``X4``): the HR folder must lie beside it."""
    own = root.resolve()
    lr_folder = own
    if read_folder_name(own.name).scale and read_folder_name(own.name).side is None:
        lr_folder = own.parent
    name = read_folder_name(lr_folder.name)
    if name.side != "lr":
        return []
    below = own.relative_to(lr_folder.parent).parts
    tree: Tree = {(*below, *parts): files for parts, files in contents.images.items()}
    for beside in sorted(lr_folder.parent.iterdir()):
        if beside.is_dir() and read_folder_name(beside.name).side == "hr":
            if read_folder_name(beside.name).rest != name.rest:
                continue
            others = read_folder(beside)
            tree |= {(beside.name, *parts): files for parts, files in others.images.items()}
            for reason, paths in others.others.items():
                contents.others.setdefault(reason, []).extend(paths)
    return _collect(lr_folder.parent, tree)[0]
