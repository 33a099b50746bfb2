from __future__ import annotations

from pathlib import Path
from typing import Literal
from unicodedata import normalize

import pytest
from PIL import Image

from adaptsr_cli.data.layouts import PairSet, find_pairs, fit_scale
from adaptsr_cli.data.preflight import check_pairs
from adaptsr_cli.errors import DataError
from adaptsr_cli.progress import Silent

Role = Literal["train", "val", "test"]


def put(root: Path, *names: str, size: tuple[int, int] = (8, 8)) -> None:
    """Writes small images of (width, height) at the names below the root."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (90, 80, 70)).save(root / name)


def put_realsr(root: Path, *, same_size: bool = False) -> None:
    for camera in ("Canon", "Nikon"):
        for split, numbers in (("Train", ("001", "002", "003")), ("Test", ("001", "002"))):
            for scale in (2, 4):
                for number in numbers:
                    folder = f"{camera}/{split}/{scale}"
                    put(root, f"{folder}/{camera}_{number}_HR.png", size=(32, 32))
                    small = 32 if same_size else 32 // scale
                    put(root, f"{folder}/{camera}_{number}_LR{scale}.png", size=(small, small))


def put_div2k(root: Path) -> None:
    for split, names in (("train", ("0001", "0002")), ("valid", ("0801",))):
        for name in names:
            put(root, f"DIV2K_{split}_HR/{name}.png", size=(32, 24))
            for kind in ("bicubic", "unknown"):
                for scale in (2, 4):
                    put(
                        root,
                        f"DIV2K_{split}_LR_{kind}/X{scale}/{name}x{scale}.png",
                        size=(32 // scale, 24 // scale),
                    )


def files_of(pairs: PairSet) -> list[tuple[str, str]]:
    return [(pair.lr.name if pair.lr else "", pair.hr.name) for pair in pairs.pairs]


def test_both_cameras_of_realsr_are_one_set(tmp_path: Path) -> None:
    root = tmp_path / "RealSR(V3)"
    put_realsr(root)
    pairs = find_pairs(root, role="train", scale=4)
    assert pairs.describe() == "RealSR V3, Canon and Nikon, x4, train, 6 pairs"
    assert all(pair.lr is not None and pair.lr.parent == pair.hr.parent for pair in pairs.pairs)
    with pytest.raises(DataError, match="4 sets of pairs: Canon/Train/2, Canon/Train/4, Nikon"):
        find_pairs(root, role="train")  # x2 and x4 are not for one network


@pytest.mark.parametrize("below", ["Canon", "Canon/Train", "Canon/Train/4"])
def test_realsr_v3_is_named_from_wherever_it_is_entered(tmp_path: Path, below: str) -> None:
    root = tmp_path / "RealSR(V3)"
    put_realsr(root)
    pairs = find_pairs(root / below, role="train", scale=4)
    assert pairs.layout == "RealSR V3, Canon, x4, train"
    assert (pairs.ratio, pairs.split, len(pairs)) == (4, "train", 3)
    assert files_of(pairs)[0] == ("Canon_001_LR4.png", "Canon_001_HR.png")
    assert pairs.describe() == "RealSR V3, Canon, x4, train, 3 pairs"


def test_the_role_decides_between_train_and_test(tmp_path: Path) -> None:
    put_realsr(tmp_path / "RealSR(V3)")
    roles: tuple[tuple[Role, str, int], ...] = (("train", "train", 3), ("test", "test", 2), ("val", "test", 2))
    for role, split, count in roles:
        pairs = find_pairs(tmp_path / "RealSR(V3)" / "Nikon", role=role, scale=2)
        assert (pairs.split, len(pairs), pairs.ratio) == (split, count, 2)


def test_realsr_v1_is_recognised_by_its_equal_sizes(tmp_path: Path) -> None:
    put_realsr(tmp_path / "RealSR", same_size=True)
    pairs = fit_scale(find_pairs(tmp_path / "RealSR" / "Canon", role="test", scale=4), 4)
    assert pairs.layout == "RealSR V1/V2, Canon, same-size pairs, test"
    assert pairs.ratio == 1
    assert pairs.describe().endswith("2 pairs; the LR side is taken at 1/4")


def test_drealsr(tmp_path: Path) -> None:
    for split in ("Train", "Test"):
        low = split.lower()
        put(tmp_path, f"{split}_x4/{low}_HR/panasonic_7_x4.png", f"{split}_x4/{low}_HR/sony_1_x4.png", size=(32, 32))
        put(tmp_path, f"{split}_x4/{low}_LR/panasonic_7_x1.png", f"{split}_x4/{low}_LR/sony_1_x1.png")
    pairs = find_pairs(tmp_path, role="train", scale=4)
    assert (pairs.layout, pairs.split, pairs.ratio) == ("DRealSR, x4, train", "train", 4)
    assert files_of(pairs) == [("panasonic_7_x1.png", "panasonic_7_x4.png"), ("sony_1_x1.png", "sony_1_x4.png")]
    assert find_pairs(tmp_path / "Test_x4", role="train", scale=4).split == "test"


def test_the_scale_finds_its_part_of_a_whole_data_set(tmp_path: Path) -> None:
    for scale in (2, 3, 4):
        for split in ("Train", "Test"):
            low = split.lower()
            put(tmp_path, f"DRealSR/{split}_x{scale}/{low}_HR/sony_1_x{scale}.png", size=(48, 48))
            put(tmp_path, f"DRealSR/{split}_x{scale}/{low}_LR/sony_1_x1.png", size=(48 // scale, 48 // scale))
        folder = f"SelfExSR/Set5/image_SRF_{scale}/img_001_SRF_{scale}"
        put(tmp_path, f"{folder}_HR.png", size=(48, 48))
        put(tmp_path, f"{folder}_LR.png", size=(48 // scale, 48 // scale))
    for scale in (2, 3, 4):
        texts = [find_pairs(tmp_path / name, role="test", scale=scale).describe() for name in ("DRealSR", "SelfExSR")]
        assert texts == [f"DRealSR, x{scale}, test, 1 pair", f"SelfExSR, x{scale}, 1 pair"]
    with pytest.raises(DataError, match="3 sets of pairs: Test_x2") as caught:
        find_pairs(tmp_path / "DRealSR", role="test")
    assert "`data`" in caught.value.hint


def test_div2k_needs_the_kind_of_lr_to_be_named(tmp_path: Path) -> None:
    root = tmp_path / "DIV2K"
    put_div2k(root)
    with pytest.raises(DataError, match="2 sets") as caught:
        find_pairs(root, role="train", scale=4)
    assert "DIV2K_train_LR_bicubic/X4, DIV2K_train_LR_unknown/X4" in caught.value.message
    for below in ("DIV2K_train_LR_unknown", "DIV2K_train_LR_unknown/X4"):
        pairs = find_pairs(root / below, role="train", scale=4)
        assert pairs.layout == "DIV2K, unknown, x4, train"
        assert files_of(pairs) == [("0001x4.png", "0001.png"), ("0002x4.png", "0002.png")]
        assert "unknown" in str(pairs.pairs[0].lr)


def test_the_scale_decides_between_x2_and_x4(tmp_path: Path) -> None:
    put_div2k(tmp_path / "DIV2K")
    folder = tmp_path / "DIV2K" / "DIV2K_valid_LR_bicubic"
    assert find_pairs(folder, role="test", scale=2).ratio == 2
    assert find_pairs(folder, role="test", scale=4).layout == "DIV2K, bicubic, x4, val"
    with pytest.raises(DataError, match="2 sets"):
        find_pairs(folder, role="test")
    with pytest.raises(DataError, match="pairs for x2, x4, but the network enlarges 3 times"):
        find_pairs(folder, role="test", scale=3)


@pytest.mark.parametrize(
    ("hr", "lr", "layout"),
    [
        ("HR/baby.png", "LR_bicubic/X4/babyx4.png", "Set5, bicubic, x4"),
        ("GTmod12/baby.png", "LRbicx4/baby.png", "Set5, bicubic, x4"),
        ("lr_ignored/../hr/a.png", "lr/a.png", "LR and HR folders, x4"),
        ("GT/a.png", "LQ/a.jpg", "LR and HR folders, x4"),
        ("HR/a.png", "LRx4/a.png", "LR and HR folders, x4"),
        ("hr/sub/a.png", "lr/sub/a.png", "LR and HR folders, x4"),
        ("image_SRF_4/img_001_SRF_4_HR.png", "image_SRF_4/img_001_SRF_4_LR.png", "SelfExSR, x4"),
        ("a_HR.png", "a_LR.png", "pairs in one folder, x4"),
        ("train/HR/a.png", "train/LR/a.png", "LR and HR folders, x4, train"),
        ("target/a.png", "input/a.png", "LR and HR folders, x4"),
        ("HR_clean/a.png", "LR_phone/a.png", "LR and HR folders, x4"),
    ],
)
def test_usual_folders(tmp_path: Path, hr: str, lr: str, layout: str) -> None:
    root = tmp_path / "Set5"
    put(root, hr.replace("lr_ignored/../", ""), size=(32, 24))
    put(root, lr, size=(8, 6))
    pairs = find_pairs(root, role="train", scale=4)
    assert (pairs.layout, pairs.ratio, len(pairs)) == (layout, 4, 1)
    assert fit_scale(check_pairs(pairs, Silent()).pairs, 4).scale == 4


def test_dped_names_its_sides_after_the_cameras(tmp_path: Path) -> None:
    root = tmp_path / "iphone"
    for name in ("0", "1", "10"):
        put(root, f"training_data/iphone/{name}.jpg", f"training_data/canon/{name}.jpg")
    put(root, "test_data/patches/iphone/0.jpg", "test_data/patches/canon/0.jpg")
    pairs = find_pairs(root, role="train", scale=4)
    assert (pairs.layout, pairs.ratio, pairs.split) == ("DPED, iphone, same-size pairs, train", 1, "train")
    assert all(pair.lr is not None and pair.lr.parent.name == "iphone" for pair in pairs.pairs)
    assert all(pair.hr.parent.name == "canon" for pair in pairs.pairs)
    assert find_pairs(root, role="test", scale=4).split == "test"


def test_city100_style(tmp_path: Path) -> None:
    put(tmp_path / "iPhoneX", "LR/001.png", "HR/001.png")
    pairs = find_pairs(tmp_path / "iPhoneX", role="train", scale=4)
    assert pairs.describe() == "City100-style same-size pairs, 1 pair; the LR side is taken at 1/scale"
    assert fit_scale(pairs, 4).describe().endswith("the LR side is taken at 1/4")


def test_photos_only(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "holiday/a.jpg", "holiday/a.png", "._x.png")
    pairs = find_pairs(tmp_path, role="train", scale=4)
    assert (pairs.layout, pairs.ratio, pairs.split) == ("photos only", None, "all")
    assert [pair.name for pair in pairs.pairs] == ["b", "holiday/a.jpg", "holiday/a.png"]
    assert pairs.describe() == "photos only, 3 photos; the LR side is made by degradation"
    assert fit_scale(check_pairs(pairs, Silent()).pairs, 4).scale == 4


def test_photos_of_a_split(tmp_path: Path) -> None:
    put(tmp_path, "train/a.png", "train/b.png", "test/c.png")
    assert [pair.name for pair in find_pairs(tmp_path, role="train").pairs] == ["train/a", "train/b"]
    assert [pair.name for pair in find_pairs(tmp_path, role="test").pairs] == ["test/c"]


def test_an_hr_folder_alone_is_photos(tmp_path: Path) -> None:
    put_div2k(tmp_path / "DIV2K")
    pairs = find_pairs(tmp_path / "DIV2K" / "DIV2K_train_HR", role="train", scale=4)
    assert (pairs.layout, len(pairs), pairs.split) == ("photos only", 2, "train")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("link", "2 files: a link to nothing, such as a.png"),
        ("npy", "2 files: of an image type that is not read (.npy), such as a.npy"),
        ("txt", "2 files: no image (.txt), such as a.txt"),
        ("empty", ""),
    ],
)
def test_pairs_whose_lr_side_is_lost_are_no_photographs(tmp_path: Path, kind: str, reason: str) -> None:
    put(tmp_path, "HR/a.png", "HR/b.png", "HR/.hidden.png")
    (tmp_path / "LR/X4").mkdir(parents=True)
    for name in "ab" if kind != "empty" else "":
        if kind == "link":
            (tmp_path / f"LR/X4/{name}.png").symlink_to(tmp_path / "nowhere" / name)
        else:
            (tmp_path / f"LR/X4/{name}.{kind}").touch()
    with pytest.raises(DataError) as caught:
        find_pairs(tmp_path, role="train")
    assert caught.value.message == f"no images in {tmp_path}/LR" + (f", but {reason}" if reason else "")
    assert caught.value.hint
    assert len(find_pairs(tmp_path / "HR", role="train")) == 2


def test_an_hr_side_that_is_lost_tells_why(tmp_path: Path) -> None:
    put(tmp_path, "LR/a.png")
    (tmp_path / "HR").mkdir()
    (tmp_path / "HR/a.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no HR side goes with it: 1 file: a link to nothing, such as a\.png"):
        find_pairs(tmp_path, role="train")


def test_pairs_are_joined_by_name_never_by_order(tmp_path: Path) -> None:
    put(tmp_path, "hr/10.png", "hr/9.png", "hr/x.png", size=(32, 32))
    put(tmp_path, "lr/9x4.png", "lr/x.png", "lr/10x4.png")
    assert files_of(find_pairs(tmp_path, role="train")) == [
        ("10x4.png", "10.png"),
        ("9x4.png", "9.png"),
        ("x.png", "x.png"),
    ]


@pytest.mark.parametrize(("lr", "hr"), [("café_LR/Ä", "café_HR/Ä"), ("lr", "hr")])
def test_letters_with_accents_are_the_same_from_every_system(tmp_path: Path, lr: str, hr: str) -> None:
    put(tmp_path, normalize("NFC", f"{hr}/naïve.png"), f"{hr}/b.png", size=(32, 32))
    put(tmp_path, normalize("NFD", f"{lr}/naïvex4.png"), normalize("NFD", f"{lr}/b.png"))
    pairs = find_pairs(tmp_path, role="train").pairs
    assert [pair.name.split("/")[-1] for pair in pairs] == ["b", normalize("NFC", "naïve")]
    (tmp_path / normalize("NFC", f"{hr}/naïve.png")).rename(tmp_path / normalize("NFC", f"{hr}/naïve.psd"))
    with pytest.raises(DataError, match=r"naïve\.psd is there, but \.psd is not read"):
        find_pairs(tmp_path, role="train")


def test_half_pairs_are_counted_and_named(tmp_path: Path) -> None:
    put(tmp_path, *(f"hr/{index}.png" for index in range(6)))
    put(tmp_path, "lr/0.png", "lr/1.png", "lr/z.png")
    with pytest.raises(DataError) as caught:
        find_pairs(tmp_path, role="train")
    places = f"{tmp_path}/lr and {tmp_path}/hr"
    told = f"5 images in {places} without the other side: z.png (LR), 2.png (HR), 3.png (HR) and 2 more"
    assert caught.value.message == told


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "hr/a.png", "lr/a.png", "lr/a.jpg")
    with pytest.raises(DataError, match="would both be 'a'"):
        find_pairs(tmp_path, role="train")


def test_names_that_differ_only_in_scale_are_still_told_apart(tmp_path: Path) -> None:
    put(tmp_path, "hr/a_x1.png", "hr/a_x2.png", "lr/a_x1.png", "lr/a_x2.png")
    assert [pair.name for pair in find_pairs(tmp_path, role="train").pairs] == ["a_x1", "a_x2"]


def test_images_on_neither_side_are_mentioned(tmp_path: Path) -> None:
    put(tmp_path, "hr/a.png", "lr/a.png", "results/a.png", "results/b.png")
    pairs = find_pairs(tmp_path, role="train")
    assert pairs.notes == ("2 images on neither side not used (in results)",)


def test_an_lr_side_without_hr_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "LR/a.png", "LR/b.png")
    for root in (tmp_path, tmp_path / "LR"):
        with pytest.raises(DataError, match="no HR side"):
            find_pairs(root, role="train")


def test_photos_may_lie_in_a_folder_that_sounds_like_a_side(tmp_path: Path) -> None:
    for name in ("my_lr_experiments", "input", "hr"):
        put(tmp_path, f"{name}/a.png", f"{name}/b.png")
        assert find_pairs(tmp_path / name, role="train").ratio is None


def test_a_file_in_the_working_folder_is_told_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "in.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"in\.png is a file; a folder") as caught:
        find_pairs(Path("in.png"), role="train")
    assert caught.value.hint == f"name its folder, {tmp_path}"
    (tmp_path / "pairs.zip").touch()
    with pytest.raises(DataError, match=r"pairs\.zip is a file; a folder") as caught:
        find_pairs(Path("pairs.zip"), role="train")
    assert caught.value.hint == "unpack pairs.zip first"


def test_missing_folder_file_and_empty_folder(tmp_path: Path) -> None:
    put(tmp_path, "iphone/a.png")
    with pytest.raises(DataError, match="no folder") as caught:
        find_pairs(tmp_path / "iphnoe", role="train")
    assert "iphone" in caught.value.hint
    with pytest.raises(DataError, match=r"a\.png is a file"):
        find_pairs(tmp_path / "iphone" / "a.png", role="train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        find_pairs(tmp_path / "empty", role="train")
    (tmp_path / "empty" / "DIV2K.zip").touch()
    with pytest.raises(DataError) as caught:
        find_pairs(tmp_path / "empty", role="train")
    assert caught.value.hint == "unpack DIV2K.zip first"


def test_fitting_the_scale_says_what_would_fit(tmp_path: Path) -> None:
    put(tmp_path, "hr/a.png", size=(16, 16))
    put(tmp_path, "lr/a.png")
    with pytest.raises(DataError, match="HR is 2 times LR, but the network enlarges 4 times") as caught:
        fit_scale(find_pairs(tmp_path, role="train", scale=4), 4)
    assert "x2" in caught.value.hint


def test_real_sets(shared: Path) -> None:
    data = shared / "data"
    expected = {
        "real_pairs/iphone": ("City100-style same-size pairs", 34, 1),
        "real_pairs/ntire2019": ("City100-style same-size pairs", 16, 1),
        "test_sr/Set5": ("Set5, bicubic, x4", 5, 4),
        "test_sr/Set14/LR_bicubic/X4": ("Set14, bicubic, x4", 14, 4),
        "train_hr": ("photos only", 400, None),
    }
    for name, (layout, count, ratio) in expected.items():
        pairs = find_pairs(data / name, role="test", scale=4)
        assert (pairs.layout, len(pairs), pairs.ratio) == (layout, count, ratio)
    with pytest.raises(DataError, match="3 sets of pairs: BSD100"):
        find_pairs(data / "test_sr", role="test", scale=4)
