"""Pairs of a folder, found by the names of its folders and files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from adaptsr_cli.data.folders import PairCandidate, collect_candidates, read_tree
from adaptsr_cli.data.names import SplitName, read_file_name, read_folder_name
from adaptsr_cli.data.places import Place, find_record, locate_blocks
from adaptsr_cli.errors import DataError, ImageError, nearest
from adaptsr_cli.io.images import image_size
from adaptsr_cli.units import list_some, plural

SplitChoice = Literal["train", "val", "test", "all"]

_LAYOUT_HINT = (
    "wanted: lr/ and hr/ with the same file names (also LQ/GT, LR_bicubic/X4 and HR, RealSR, DIV2K, DPED ...), "
    "or a folder of photographs"
)
# A role takes the first of these that the folder has; the caller sees in `split` which it was.
_PREFERENCE: dict[SplitName, tuple[SplitChoice, ...]] = {
    "train": ("train", "all", "val", "test"),
    "val": ("val", "test", "all", "train"),
    "test": ("test", "val", "all", "train"),
}


@dataclass(frozen=True)
class PairFacts:
    """Results of the check of a pair, so that the files need not be opened for them again.

    Attributes:
        lr_px: (width, height) of the LR file; (0, 0) for a photograph.
        hr_px: The same of the HR file.
        lr_print: Fingerprint of the LR file; None for a photograph.
        hr_print: Fingerprint of the HR file.
    """

    lr_px: tuple[int, int]
    hr_px: tuple[int, int]
    lr_print: str | None
    hr_print: str


@dataclass(frozen=True)
class Pair:
    """The LR and the HR file of one picture.

    Attributes:
        name: Name of both files without side and scale.
        lr: The LR file; None for a photograph whose LR side is made by degradation.
        hr: The HR file.
        shift: (dy, dx): LR at (y + dy, x + dx) shows what HR shows at (y, x), in pixels of the LR grid, for pairs of
            one size in pixels of the files. Put right on reading.
        facts: Results of the check; None before it.
        place: Where it was cut from, for pairs of ``adaptsr pair``; None where that is not known.
    """

    name: str
    lr: Path | None
    hr: Path
    shift: tuple[int, int] = (0, 0)
    facts: PairFacts | None = None
    place: Place | None = None


@dataclass(frozen=True)
class PairSet:
    """The pairs of one folder.

    Attributes:
        root: The folder that was named.
        layout: What kind of data set it is, for people.
        pairs: The pairs, sorted by name.
        ratio: HR size over LR size; 1 for pairs of one size, None for photographs only.
        split: Which part of a data set it is; ``all`` where nothing is said.
        notes: What the user should know, such as sides that were trimmed.
        scale: The factor of the network the set was fitted to by `fit_scale`; None before.
        weight: Its share of the drawn crops relative to other sets; None where nothing is said.
    """

    root: Path
    layout: str
    pairs: tuple[Pair, ...]
    ratio: int | None
    split: SplitChoice
    notes: tuple[str, ...] = ()
    scale: int | None = None
    weight: float | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def describe(self) -> str:
        """One line for people: layout, number of pairs, what happens to the LR side."""
        if self.ratio is None:
            return f"{self.layout}, {plural(len(self), 'photo')}; the LR side is made by degradation"
        line = f"{self.layout}, {plural(len(self), 'pair')}"
        shots = {pair.place.shot for pair in self.pairs if pair.place is not None}
        line += f" of {plural(len(shots), 'shot')}" if shots else ""
        if self.ratio == 1:
            return f"{line}; the LR side is taken at 1/{self.scale or 'scale'}"
        return line if f"x{self.ratio}" in self.layout.lower() else f"{line}, x{self.ratio}"


def find_pairs(root: Path, *, role: SplitName, scale: int | None = None) -> PairSet:
    """Find the pairs below a folder by the names of folders and files, never by sort order.

    Only one image header is read, for the ratio of the sizes; `check_pairs` looks at all of them.

    Args:
        root: A data set, one of its splits or LR folders, or a folder of photographs.
        role: What the pairs are for; decides between ``train/`` and ``test/`` below one root.
        scale: The network's factor; decides between ``X2``, ``X3`` and ``X4``.

    Raises:
        DataError: No such folder, no images, half pairs, or several sets to choose from.
    """
    check_folder(root)
    tree = read_tree(root)
    candidates, leftover = collect_candidates(root, tree)
    if not candidates:
        return _list_photos(root, role, tree)
    chosen = _choose(root, candidates, role, scale)
    pairs = match_files(chosen)
    ratio = read_ratio(pairs)
    notes = []
    if leftover:
        places = ", ".join(sorted({str(path.parent.relative_to(root)) for path in leftover})[:3])
        notes.append(f"{plural(len(leftover), 'image')} on neither side not used (in {places})")
    split: SplitChoice = chosen.split or "all"
    return _place_pairs(PairSet(root, _name_layout(root, chosen, ratio), pairs, ratio, split, tuple(notes)))


def _place_pairs(pairs: PairSet) -> PairSet:
    """The set with the places of its pairs, where ``adaptsr pair`` made it; else as it is.

    Raises:
        ArtifactError: ``pairs.json`` is damaged or of another version.
        DataError: It names none of the pairs.
    """
    record = find_record(pairs.root)
    if record is None:
        return pairs
    places = locate_blocks(record)
    known = tuple(replace(pair, place=places[pair.name]) for pair in pairs.pairs if pair.name in places)
    if not known:
        raise DataError(f"pairs.json names none of the pairs in {pairs.root}", "make them again by adaptsr pair")
    notes = list(pairs.notes)
    if len(known) < len(pairs):
        others = [pair.name for pair in pairs.pairs if pair.name not in places]
        notes.append(f"{plural(len(others), 'pair')} that pairs.json does not name not used: {list_some(others)}")
    layout = f"pairs made by adaptsr pair, x{record.scale}"
    return replace(pairs, layout=layout, pairs=known, notes=tuple(notes))


def fit_scale(pairs: PairSet, scale: int) -> PairSet:
    """Return the set for a network of factor `scale`.

    Raises:
        DataError: HR is another multiple of LR than the network makes.
    """
    if pairs.ratio in {None, 1, scale}:
        return replace(pairs, scale=scale)
    own = any(pair.place is not None for pair in pairs.pairs)
    other = f"make pairs by adaptsr pair --scale {scale}" if own else f"a folder of x{scale} pairs by `data`"
    raise DataError(
        f"{pairs.root}: HR is {pairs.ratio} times LR, but the network enlarges {scale} times",
        f"name a x{pairs.ratio} network by `model`, or {other}",
    )


def ratio_of(lr_px: tuple[int, int], hr_px: tuple[int, int]) -> int | None:
    """Return the whole factor between the sides, up to less than one LR pixel; None where there is none.

    Args:
        lr_px: (width, height) of the LR side.
        hr_px: The same of the HR side.
    """
    (lr_width, lr_height), (hr_width, hr_height) = lr_px, hr_px
    if min(lr_px) < 1:
        return None
    ratio = max(1, round(max(hr_width / lr_width, hr_height / lr_height)))
    for factor in (ratio, ratio - 1, ratio + 1):  # a tiny LR may round to the wrong side
        off = max(abs(hr_width - factor * lr_width), abs(hr_height - factor * lr_height))
        if factor >= 1 and off < factor:
            return factor
    return None


def read_ratio(pairs: Sequence[Pair]) -> int:
    """HR size over LR size of the first pair whose headers can be read; `check_pairs` measures them all.

    Raises:
        DataError: None of the first 20 pairs can be read.
    """
    fault: ImageError | None = None
    for pair in pairs[:20]:
        assert pair.lr is not None
        try:
            lr_px, hr_px = image_size(pair.lr), image_size(pair.hr)
        except ImageError as error:
            fault = fault or error
            continue
        return ratio_of(lr_px, hr_px) or max(1, round(hr_px[0] / lr_px[0]))
    raise DataError(f"none of the first pairs can be read: {fault}", "check the files")


def check_folder(root: Path) -> None:
    """Refuse a path that is not a folder, naming the folder with the nearest name.

    Raises:
        DataError: `root` is missing or a file.
    """
    if root.is_dir():
        return
    if root.exists():
        raise DataError(f"{root} is a file; a folder of pairs or photographs is wanted", f"name {root.parent}")
    near = ""
    if root.parent.is_dir():
        near = nearest(root.name, (entry.name for entry in root.parent.iterdir() if entry.is_dir()))
    raise DataError(f"there is no folder {root}", near or "check the path")


def _choose(root: Path, candidates: Sequence[PairCandidate], role: SplitName, scale: int | None) -> PairCandidate:
    for wanted in _PREFERENCE[role]:
        left = [candidate for candidate in candidates if (candidate.split or "all") == wanted]
        if left:
            break
    if scale is not None and len(left) > 1:
        fitting = [candidate for candidate in left if candidate.scale == scale]
        fitting = fitting or [candidate for candidate in left if candidate.scale is None]
        if not fitting:
            have = ", ".join(sorted({f"x{candidate.scale}" for candidate in left}))
            raise DataError(f"{root} has pairs for {have}, but the network enlarges {scale} times", "name another")
        left = fitting
    left = _join_cameras(left)
    if len(left) == 1:
        return left[0]
    places = [candidate.place for candidate in left]
    raise DataError(
        f"{root} holds {len(left)} sets of pairs: {list_some(sorted(places), 6)}",
        "name one of these folders by `data`, or several of them",
    )


def _join_cameras(candidates: list[PairCandidate]) -> list[PairCandidate]:
    """RealSR's two cameras, of one scale and split, are one set: their files are named after the camera."""
    cameras = [_camera_of(candidate.hr[0][1].name) for candidate in candidates if candidate.together]
    alike = len({(candidate.scale, candidate.split) for candidate in candidates}) == 1
    if not alike or sorted(cameras) != ["Canon", "Nikon"] or len(candidates) != 2:
        return candidates
    first, second = candidates
    place = f"{first.place} and {second.place}"
    return [replace(first, place=place, lr=first.lr + second.lr, hr=first.hr + second.hr)]


def _camera_of(text: str) -> str:
    """RealSR's camera that a text names; empty where it names none."""
    found = re.search(r"canon|nikon", text.lower())
    return found[0].title() if found else ""


def match_files(chosen: PairCandidate) -> tuple[Pair, ...]:
    """Pairs the files by equal names, or by names without side and scale, whichever leaves fewer alone.

    Raises:
        DataError: A file without the other side, or two files of one name.
    """
    exact = _match_names(chosen.lr, chosen.hr, strip=False)
    stripped = _match_names(chosen.lr, chosen.hr, strip=True)
    best = exact if len(exact.alone) <= len(stripped.alone) else stripped
    if best.twice:
        name, first, second = best.twice[0]
        raise DataError(
            f"{first} and {second} would both be {name!r}; {plural(len(best.twice), 'such name')}",
            "move one of each away or give each its own name",
        )
    if best.alone:
        count = plural(len(best.alone), "image")
        raise DataError(
            f"{count} in {chosen.place} without the other side: {list_some(best.alone)}",
            "give both sides the same file names, or move these away",
        )
    return tuple(best.pairs)


@dataclass(frozen=True)
class _Joined:
    pairs: list[Pair]
    alone: list[str]
    twice: list[tuple[str, Path, Path]]


def _match_names(lr: Iterable[tuple[str, Path]], hr: Iterable[tuple[str, Path]], *, strip: bool) -> _Joined:
    twice: list[tuple[str, Path, Path]] = []
    sides: list[dict[str, Path]] = []
    for files in (lr, hr):
        named: dict[str, Path] = {}
        for prefix, path in files:
            name = prefix + (read_file_name(path.stem).key if strip else path.stem)
            if name in named:
                twice.append((name, named[name], path))
            named[name] = path
        sides.append(named)
    lr_named, hr_named = sides
    both = sorted(lr_named.keys() & hr_named.keys())
    pairs = [Pair(name, lr_named[name], hr_named[name]) for name in both]
    alone = [f"{lr_named[name].name} (LR)" for name in sorted(lr_named.keys() - hr_named.keys())]
    alone += [f"{hr_named[name].name} (HR)" for name in sorted(hr_named.keys() - lr_named.keys())]
    return _Joined(pairs, alone, twice)


def _list_photos(root: Path, role: SplitName, tree: dict[tuple[str, ...], list[Path]]) -> PairSet:
    if not tree:
        packed = [path.name for path in sorted(root.iterdir()) if path.suffix in {".zip", ".tar", ".gz", ".7z"}]
        hint = f"unpack {packed[0]} first" if packed else _LAYOUT_HINT
        raise DataError(f"no images in {root}", hint)
    sides = [read_folder_name(part).side for parts in tree for part in parts]
    own = read_folder_name(root.resolve().name)
    # "LR" or "DIV2K_train_LR_bicubic", but not "my_lr_experiments" nor a folder of photographs called "input"
    lone = own.side == "lr" and (not own.rest or own.split) and re.search("l[rq]", root.resolve().name.lower())
    if lone or ("lr" in sides and "hr" not in sides):
        raise DataError(f"{root} has an LR side, but no HR side goes with it", _LAYOUT_HINT)
    if "hr" in sides:
        tree = {parts: files for parts, files in tree.items() if any(read_folder_name(p).side == "hr" for p in parts)}
    by_split: dict[SplitChoice, list[Path]] = {}
    for parts, files in tree.items():
        named = [name.split for name in map(read_folder_name, parts) if name.split]
        by_split.setdefault(named[-1] if named else "all", []).extend(files)
    for wanted in _PREFERENCE[role]:
        if wanted in by_split:
            break
    files = sorted(by_split[wanted])
    names = [path.relative_to(root).with_suffix("").as_posix() for path in files]
    often = Counter(names)
    pairs = [
        Pair(name if often[name] == 1 else path.relative_to(root).as_posix(), None, path)
        for name, path in zip(names, files, strict=True)
    ]
    split: SplitChoice = wanted if wanted != "all" else (own.split or "all")
    return PairSet(root, "photos only", tuple(sorted(pairs, key=lambda pair: pair.name)), None, split)


def _name_layout(root: Path, chosen: PairCandidate, ratio: int) -> str:
    """What the data set is called, from the names of its folders and files."""
    above = root.resolve().parts
    words = "/".join([*above[-2:], chosen.place]).lower()
    split = f", {chosen.split}" if chosen.split else ""
    scale = f", x{chosen.scale or ratio}" if ratio > 1 else ""
    if chosen.together:
        cameras = sorted({_camera_of(path.name) for _, path in chosen.hr} - {""})
        cameras = cameras or [name for name in [_camera_of("/".join([words, *above[-4:]]))] if name]
        if cameras:
            version, same = ("V3", "") if ratio > 1 else ("V1/V2", ", same-size pairs")
            return f"RealSR {version}, {' and '.join(cameras)}{scale}{same}{split}"
        if "srf_" in chosen.hr[0][1].name.lower():
            return f"SelfExSR{scale}"
        return f"pairs in one folder{scale}{split}"
    if chosen.phone:
        return f"DPED, {chosen.phone}, same-size pairs{split}"
    if "drealsr" in words or re.fullmatch(r".*_x1", chosen.lr[0][1].stem):
        return f"DRealSR{scale}{split}"
    if "div2k" in words:
        return f"DIV2K, {chosen.kind or 'LR'}{scale}{split}"
    if ratio == 1:
        return f"City100-style same-size pairs{split}"
    if chosen.kind:
        return f"{chosen.set_name}, {chosen.kind}{scale}{split}"
    return f"LR and HR folders{scale}{split}"
