"""Pairs of a folder, found by the names of its folders and files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from adaptsr_cli.data.candidates import PREFERENCE, SplitChoice, choose_candidate, name_layout
from adaptsr_cli.data.folders import collect_candidates, read_folder
from adaptsr_cli.data.matching import match_files
from adaptsr_cli.data.names import SplitName, read_folder_name
from adaptsr_cli.data.places import Place, find_record, locate_blocks
from adaptsr_cli.errors import DataError, ImageError, nearest
from adaptsr_cli.io.contents import NEITHER_SIDE, NO_SIDE, Contents, LeftOut, packed_data, unpack_advice
from adaptsr_cli.io.images import image_size
from adaptsr_cli.units import list_some, plural, readable

_OTHER_PART = "of another part or scale"
_LAYOUT_HINT = (
    "wanted: lr/ and hr/ with the same file names (also LQ/GT, LR_bicubic/X4 and HR, RealSR, DIV2K, DPED ...), "
    "or a folder of photographs"
)


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
        left_out: The other files of the folder, by reason.
        faults: Pairs that cannot be used, which are not among `pairs`: name and what is wrong.
    """

    root: Path
    layout: str
    pairs: tuple[Pair, ...]
    ratio: int | None
    split: SplitChoice
    notes: tuple[str, ...] = ()
    scale: int | None = None
    weight: float | None = None
    left_out: tuple[LeftOut, ...] = ()
    faults: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    def keep(self, kept: Sequence[Pair], reason: str) -> Self:
        """The set with some of its pairs; the files of the others are left out for `reason`."""
        groups = {group.reason: group.paths for group in self.left_out}
        if gone := sorted(files_of(self.pairs) - files_of(kept)):
            groups[reason] = (*groups.get(reason, ()), *gone)
        return replace(self, pairs=tuple(kept), left_out=tuple(LeftOut(*group) for group in groups.items()))

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
    contents = read_folder(root)
    candidates, leftover = collect_candidates(root, contents)
    if not candidates:
        return _list_photos(root, role, contents)
    chosen = choose_candidate(root, candidates, role, scale)
    unread = [path for group in contents.unread() for path in group.paths]
    pairs = tuple(Pair(*files) for files in match_files(chosen.lr, chosen.hr, unread))
    ratio = read_ratio(pairs)
    notes = []
    if leftover:
        places = ", ".join(sorted({str(path.parent.relative_to(root)) for path in leftover})[:3])
        notes.append(f"{plural(len(leftover), 'image')} on neither side not used (in {places})")
    split: SplitChoice = chosen.split or "all"
    left_out = _leave_out(contents, pairs, leftover)
    return _place_pairs(
        PairSet(root, name_layout(root, chosen, ratio), pairs, ratio, split, tuple(notes), left_out=left_out)
    )


def files_of(pairs: Iterable[Pair]) -> set[Path]:
    """The files of some pairs."""
    return {path for pair in pairs for path in (pair.lr, pair.hr) if path is not None}


def _leave_out(
    contents: Contents, pairs: Iterable[Pair], leftover: Iterable[Path], reason: str = NEITHER_SIDE
) -> tuple[LeftOut, ...]:
    """All files of a folder but those of the pairs; `leftover` for that reason."""
    used, apart = files_of(pairs), set(leftover)
    for images in contents.images.values():
        for path in images:
            if path not in used:
                contents.leave_out(reason if path in apart else _OTHER_PART, path)
    return contents.left_out()


def no_images(root: Path, contents: Contents, hint: str) -> DataError:
    """The error where a folder has no images: what it holds in their place, and what to do about it."""
    others = "; ".join(group.describe() for group in contents.left_out())
    advice = packed_data(contents, root) or ("convert them to PNG" if contents.unread() else hint)
    return DataError(f"no images in {root}" + (f", but {others}" if others else ""), advice)


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
    return replace(pairs.keep(known, "not named by pairs.json"), layout=layout, notes=tuple(notes))


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


def read_ratio(pairs: Sequence[Pair], remedy: str = "exchange the names of the two sides") -> int:
    """HR size over LR size of the first pair whose headers can be read; `check_pairs` measures them all.

    Args:
        pairs: Each with an LR side.
        remedy: What to do where the sides are exchanged.

    Raises:
        DataError: None of the first 20 pairs can be read, or the LR side of most of them is the larger one.
    """
    fault: ImageError | None = None
    exchanged: list[tuple[Pair, int]] = []
    ratios: list[int] = []
    for pair in pairs[:20]:
        assert pair.lr is not None
        try:
            lr_px, hr_px = image_size(pair.lr), image_size(pair.hr)
        except ImageError as error:
            fault = fault or error
            continue
        if times := times_larger(lr_px, hr_px):
            exchanged.append((pair, times))
            continue
        ratios.append(ratio_of(lr_px, hr_px) or max(1, round(hr_px[0] / lr_px[0])))
        if not exchanged:
            return ratios[0]
    if len(exchanged) > len(ratios):
        pair, times = exchanged[0]
        raise DataError(f"the LR side is {times} times the HR side, as in {pair.name}: the sides are exchanged", remedy)
    if not ratios:
        raise DataError(f"none of the first pairs can be read: {fault}", "check the files")
    return ratios[0]


def times_larger(lr_px: tuple[int, int], hr_px: tuple[int, int]) -> int:
    """How many times the LR side is larger than the HR side; 0 where it is not."""
    times = ratio_of(hr_px, lr_px) or 0
    return times if times > 1 else 0


def check_folder(root: Path) -> None:
    """Refuse a path that is not a folder, naming the folder with the nearest name.

    Raises:
        DataError: `root` is missing or a file.
    """
    if root.is_dir():
        return
    if root.exists():
        own = root.absolute().parent  # in full: of a file in the working folder it would be "."
        remedy = unpack_advice(root) or f"name its folder, {own}"
        raise DataError(f"{root} is a file; a folder of pairs or photographs is wanted", remedy)
    near = ""
    if root.parent.is_dir():
        near = nearest(root.name, (entry.name for entry in root.parent.iterdir() if entry.is_dir()))
    raise DataError(f"there is no folder {root}", near or "check the path")


def _list_photos(root: Path, role: SplitName, contents: Contents) -> PairSet:
    tree = contents.images
    if not tree:
        raise no_images(root, contents, _LAYOUT_HINT)
    sides = [read_folder_name(part).side for parts in tree for part in parts]
    own = read_folder_name(root.resolve().name)
    # "LR" or "DIV2K_train_LR_bicubic", but not "my_lr_experiments" nor a folder of photographs called "input"
    lone = own.side == "lr" and (not own.rest or own.split) and re.search("l[rq]", root.resolve().name.lower())
    if lone or ("lr" in sides and "hr" not in sides):
        lost = "; ".join(group.describe() for group in contents.left_out() if group.is_unexpected)
        raise DataError(
            f"{root} has an LR side, but no HR side goes with it" + (f": {lost}" if lost else ""),
            packed_data(contents, root) or ("convert them to PNG" if contents.unread() else _LAYOUT_HINT),
        )
    aside: list[Path] = []
    if "hr" in sides:
        _refuse_bare_lr(root, contents)
        aside = [path for parts, files in tree.items() if not _is_hr(parts) for path in files]
        tree = {parts: files for parts, files in tree.items() if _is_hr(parts)}
    by_split: dict[SplitChoice, list[Path]] = {}
    for parts, files in tree.items():
        named = [name.split for name in map(read_folder_name, parts) if name.split]
        by_split.setdefault(named[-1] if named else "all", []).extend(files)
    for wanted in PREFERENCE[role]:
        if wanted in by_split:
            break
    files = sorted(by_split[wanted])
    names = [readable(path.relative_to(root).with_suffix("").as_posix()) for path in files]
    often = Counter(names)
    pairs = [
        Pair(name if often[name] == 1 else readable(path.relative_to(root).as_posix()), None, path)
        for name, path in zip(names, files, strict=True)
    ]
    split: SplitChoice = wanted if wanted != "all" else (own.split or "all")
    ordered = tuple(sorted(pairs, key=lambda pair: pair.name))
    return PairSet(root, "photos only", ordered, None, split, left_out=_leave_out(contents, ordered, aside, NO_SIDE))


def _refuse_bare_lr(root: Path, contents: Contents) -> None:
    """Refuse an LR folder that lost its images, since the HR side would be taken for photographs.

    Raises:
        DataError: No image lies below one.
    """
    for parts in contents.folders:
        is_bare = not any(images[: len(parts)] == parts for images in contents.images)
        if is_bare and parts and read_folder_name(parts[-1]).side == "lr":
            folder = root.joinpath(*parts)
            lost = {
                reason: own
                for reason, paths in contents.others.items()
                if (own := [path for path in paths if path.is_relative_to(folder)])
            }
            hint = "mend the LR side, or name the HR folder itself to take its images as photographs"
            raise no_images(folder, Contents(others=lost), hint)


def _is_hr(parts: Iterable[str]) -> bool:
    return any(read_folder_name(part).side == "hr" for part in parts)
