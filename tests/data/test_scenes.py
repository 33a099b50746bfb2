"""Which images show the same things, by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptsr_cli.data.layouts import Pair, PairSet
from adaptsr_cli.data.scenes import join_scenes, name_scenes, place_images


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("img_001_crop3", "img_001"),
        ("img_001-tile-0_2", "img_001"),
        ("img 001 patch 07", "img 001"),
        ("0001_s012", "0001"),
        ("photo_x120_y340", "photo"),
        ("photo_h0w480", "photo"),
        ("IMG_7_BURST2", "IMG_7"),
        ("00010XTR_00012_BURST20200101123456789_COVER", "burst 20200101123456789"),
        ("20200101_123456_002", "20200101_123456"),
        ("PXL_20200101_123456789~2", "PXL_20200101_123456"),
        ("20200101_123456(1)", "20200101_123456"),
        ("clip_frame_0012", "clip"),
        ("clip-f0012", "clip"),
        ("shots/clip_frame12", "shots/clip"),
        ("frame_0003", "frames"),
        ("IMG_7_burst2_crop1", "IMG_7"),
    ],
)
def test_parts_of_one_scene_are_told_by_name(name: str, scene: str) -> None:
    assert name_scenes([name]) == [scene]


@pytest.mark.parametrize(
    "name",
    ["0001", "Canon_001", "cam1_01", "IMG_20200101_123456", "DSC0001", "DSC_0001", "100007", "a_s1", "img_x4", "f16"],
)
def test_numbers_that_name_photographs_are_no_parts(name: str) -> None:
    assert name_scenes([name]) == [name]


def test_numbered_frames_in_many_folders_are_videos() -> None:
    videos = [f"{video:03d}/{frame:08d}" for video in range(5) for frame in range(3)]
    assert name_scenes(videos) == [name[:3] for name in videos]
    kinds = [f"{kind}/{number:03d}" for kind in ("indoor", "outdoor") for number in range(9)]
    assert name_scenes(kinds) == kinds


def test_images_of_a_scene_lie_on_a_line_and_links_join_scenes() -> None:
    names = ("clip_f010", "clip_f002", "clip_f0100", "other")
    places = place_images(PairSet(Path("x"), "pairs", tuple(Pair(n, None, Path(n)) for n in names), None, "all"))
    assert [places[name].left for name in names] == [1, 0, 2, 0]
    assert places["clip_f010"].gap(places["clip_f0100"]) == 0
    assert {places[name].scene for name in names} == {"clip", "other"}
    joined = join_scenes(places, [("other", "elsewhere"), ("elsewhere", "clip_f010")])
    assert {place.scene for place in joined.values()} == {"clip"}
