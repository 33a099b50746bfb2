"""Choice among the sets of pairs in a folder, and the name of the chosen one's layout."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from adaptsr_cli.data.folders import PairCandidate
from adaptsr_cli.data.names import SplitName
from adaptsr_cli.errors import DataError
from adaptsr_cli.units import list_some

SplitChoice = Literal["train", "val", "test", "all"]

# A role takes the first of these that the folder has; the caller sees in `split` which it was.
PREFERENCE: dict[SplitName, tuple[SplitChoice, ...]] = {
    "train": ("train", "all", "val", "test"),
    "val": ("val", "test", "all", "train"),
    "test": ("test", "val", "all", "train"),
}


def choose_candidate(
    root: Path, candidates: Sequence[PairCandidate], role: SplitName, scale: int | None
) -> PairCandidate:
    """The set that is meant by a role and the network's factor.

    Raises:
        DataError: None fits, or several do.
    """
    for wanted in PREFERENCE[role]:
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


def name_layout(root: Path, chosen: PairCandidate, ratio: int) -> str:
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
