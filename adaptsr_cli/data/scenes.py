"""Scenes of images: which of a set show the same things, as their places or their names tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from adaptsr_cli.data.layouts import PairSet
from adaptsr_cli.data.places import Place

_PARTS: Final = (
    # img_001_crop3, img_001_tile_0_2, img_001_patch-07, img_001_sub2
    re.compile(r"[_\-. ](?:crop|patch|tile|block|sub)[_\-. ]?\d+(?:[_\-x]\d+)*$", re.IGNORECASE),
    # 0001_s012, as BasicSR names its sub-images
    re.compile(r"_s\d{3,}$", re.IGNORECASE),
    # img_001_x120_y340, img_001_h0_w480
    re.compile(r"[_\-. ](?:[xw]\d+[_\-. ]?[yh]\d+|[yh]\d+[_\-. ]?[xw]\d+)$", re.IGNORECASE),
    # IMG_001_burst2, IMG_001-BURST-02
    re.compile(r"[_\-. ]burst[_\-. ]?\d{1,4}$", re.IGNORECASE),
    # 20200101_123456_002, PXL_20200101_123456789~2, 20200101_123456(0): several shots of one moment
    re.compile(r"(?<=\d{8}_\d{6})(?:\d{3})?[_\-~ (]\d{1,3}\)?$", re.IGNORECASE),
    # clip_frame_0012, clip-f0012
    re.compile(r"(?:(?:^|[_\-. ])(?:frame|frm)[_\-. ]?\d+|[_\-. ]f\d{3,})$", re.IGNORECASE),
)
"""What names a part of a photograph, a shot of a burst or a frame of a video, at the end of a name."""

# 00010XTR_00012_BURST20200101123456789_COVER: the moment is the scene, whatever stands around it.
_BURST_ID: Final = re.compile(r"burst(\d{10,})", re.IGNORECASE)
# Frames that are nothing but numbered, one folder for each video: 000/00000012, 00001/0266/im3.
_NUMBERED: Final = re.compile(r"(?:im|img|frame|f)?[_\-]?\d{1,8}", re.IGNORECASE)
_LEAST_FOLDERS: Final = 5  # fewer may be kinds of photographs: indoor/, outdoor/
_DIGITS: Final = re.compile(r"(\d+)")


def place_images(pairs: PairSet) -> dict[str, Place]:
    """Name of each pair -> its place; images of one scene lie on a line, in the order of their names.

    Pairs of ``adaptsr pair`` know theirs. Bursts, crops of one photograph and frames of one video are told by their
    names; every other image is a scene of its own.
    """
    known = {pair.name: pair.place for pair in pairs.pairs if pair.place is not None}
    rest = [pair.name for pair in pairs.pairs if pair.name not in known]
    members: dict[str, list[str]] = {}
    for name, scene in zip(rest, name_scenes(rest), strict=True):
        members.setdefault(scene, []).append(name)
    places = dict(known)
    for scene, names in members.items():
        title = scene if len(names) > 1 else names[0]
        for rank, name in enumerate(sorted(names, key=_natural)):
            places[name] = Place(shot=title, scene=title, photograph=title, left=float(rank), top=0.0, side=1.0)
    return {pair.name: places[pair.name] for pair in pairs.pairs}


def name_scenes(names: Sequence[str]) -> list[str]:
    """The scene of each image by its name, such as ``img_001`` of ``img_001_crop3``; else the name itself."""
    folders = Counter(name.rpartition("/")[0] for name in names if _NUMBERED.fullmatch(name.rpartition("/")[2]))
    videos = {folder for folder, count in folders.items() if folder and count > 1}
    return [_name_scene(name, videos if len(videos) >= _LEAST_FOLDERS else set()) for name in names]


def _name_scene(name: str, videos: set[str]) -> str:
    folder, slash, stem = name.rpartition("/")
    if found := _BURST_ID.search(stem):
        return f"{folder}{slash}burst {found[1]}"
    stripped = True
    while stripped:
        stripped = False
        for rule in _PARTS:
            if found := rule.search(stem):
                stem, stripped = stem[: found.start()], True
    if not stem:
        return f"{folder}{slash}frames"
    if folder in videos and _NUMBERED.fullmatch(stem):
        return folder
    return f"{folder}{slash}{stem}"


def join_scenes(places: dict[str, Place], links: Iterable[tuple[str, str]]) -> dict[str, Place]:
    """The places with the scenes of linked images made one, named as the first of them by name.

    Args:
        places: Name -> place.
        links: Pairs of names that show the same things; names that are not in `places` count as links between those
            that are.
    """
    scene_of = {name: place.scene for name, place in places.items()}
    parent = {scene: scene for scene in scene_of.values()}

    def root(scene: str) -> str:
        parent.setdefault(scene, scene)
        while parent[scene] != scene:
            parent[scene] = parent[parent[scene]]
            scene = parent[scene]
        return scene

    for one, two in links:
        first, second = sorted((root(scene_of.get(one, one)), root(scene_of.get(two, two))))
        parent[second] = first
    return {name: replace(place, scene=root(place.scene)) for name, place in places.items()}


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts ``f2`` before ``f10``."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in _DIGITS.split(name)]
