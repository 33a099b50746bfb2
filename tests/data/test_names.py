from __future__ import annotations

import pytest

from adaptsr_cli.data.names import read_file_name, read_folder_name


@pytest.mark.parametrize(
    ("stems", "key"),
    [
        (("baby", "babyx4"), "baby"),
        (("0001", "0001x4", "0001x8", "0001x4m", "0001x4w1"), "0001"),
        (("Canon_001_HR", "Canon_001_LR4", "Canon_001_LR2"), "Canon_001"),
        (("panasonic_7_x1", "panasonic_7_x4"), "panasonic_7"),
        (("img_001_SRF_4_HR", "img_001_SRF_4_LR", "img_001"), "img_001"),
        (("a-hr", "a.lr", "a_GT", "a_lq"), "a"),
        (("HR_03", "lr_03"), "03"),
        (("x4",), "x4"),
        (("hr",), "hr"),
    ],
)
def test_both_sides_of_a_pair_have_one_key(stems: tuple[str, ...], key: str) -> None:
    assert {read_file_name(stem).key for stem in stems} == {key}


def test_a_file_name_tells_side_and_scale() -> None:
    name = read_file_name("Nikon_012_LR4")
    assert (name.key, name.side, name.scale) == ("Nikon_012", "lr", 4)
    assert read_file_name("Nikon_012_HR").side == "hr"
    assert read_file_name("0001x3").scale == 3
    assert read_file_name("0001").side is None


@pytest.mark.parametrize(
    ("name", "side", "scale", "split", "kind", "rest"),
    [
        ("DIV2K_train_HR", "hr", None, "train", "", ("div2k", "train")),
        ("DIV2K_train_LR_unknown", "lr", None, "train", "unknown", ("div2k", "train")),
        ("GTmod12", "hr", None, None, "", ()),
        ("LRbicx4", "lr", 4, None, "bicubic", ()),
        ("LR_samesize", "lr", None, None, "samesize", ()),
        ("X4", None, 4, None, "", ()),
        ("4", None, 4, None, "", ()),
        ("image_SRF_4", None, 4, None, "", ("image", "srf")),
        ("Train_x4", None, 4, "train", "", ("train",)),
        ("training_data", None, None, "train", "", ("training", "data")),
        ("test_sr", None, None, None, "", ("test", "sr")),
        ("iPhoneX", None, None, None, "", ("iphonex",)),
        ("0004", None, None, None, "", ("0004",)),
    ],
)
def test_folder_names(
    name: str, side: str | None, scale: int | None, split: str | None, kind: str, rest: tuple[str, ...]
) -> None:
    read = read_folder_name(name)
    assert (read.side, read.scale, read.split, read.kind, read.rest) == (side, scale, split, kind, rest)
