"""Every file of a data folder is used or accounted for, and what looks wrong is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adaptsr_cli.data.accounts import account_files
from adaptsr_cli.data.layouts import PairSet, find_pairs
from adaptsr_cli.data.listing import pair_folders
from adaptsr_cli.data.preflight import check_pairs
from adaptsr_cli.errors import DataError
from adaptsr_cli.io.contents import NO_SIDE
from adaptsr_cli.progress import Silent
from tests.data.test_layouts import put


def put_pairs(root: Path, *names: str, hr: str = "hr", lr: str = "lr") -> None:
    put(root, *(f"{hr}/{name}" for name in names), size=(32, 32))
    put(root, *(f"{lr}/{name}" for name in names))


def count_files(root: Path) -> int:
    """The files below a folder, counted by another way than ours."""
    return sum(len(files) for _, _, files in os.walk(root))


def reasons_of(pairs: PairSet) -> dict[str, int]:
    return {group.reason: len(group.paths) for group in pairs.left_out}


def test_every_file_of_a_folder_is_accounted_for(tmp_path: Path) -> None:
    put_pairs(tmp_path, "a.png", "b.png", "sub/c.png")
    put(
        tmp_path,
        "hr/@eaDir/a.png/SYNOFILE_THUMB_XL.png",
        "lr/.a.png",
        "#recycle/d.png",
        "cover.png",
        "hr/d/e/f/g/h/i.png",
    )
    for name in ("notes.txt", "lr/Thumbs.db", "hr/raw.psd"):
        (tmp_path / name).touch()
    (tmp_path / "hr/d/e/f/g/h/i.png").rename(tmp_path / "hr/d/e/f/g/h/j.psd")
    pairs = find_pairs(tmp_path, role="test")
    assert [pair.name for pair in pairs.pairs] == ["a", "b", "sub/c"]
    assert reasons_of(pairs) == {
        "a thumbnail or preview of a system": 1,
        "hidden": 1,
        "in a recycle bin": 1,
        "left behind by a system": 1,
        "no image (.txt)": 1,
        "of an image type that is not read (.psd)": 2,
        "on neither side": 1,
    }
    account = account_files(pairs, {"scored": pairs.pairs[:2]}, "not scored")
    assert (account.files, account.used) == (count_files(tmp_path), {"scored": 4})
    assert account.left_out[-1].model_dump() == {
        "reason": "not scored",
        "files": 2,
        "examples": ("hr/sub/c.png", "lr/sub/c.png"),
    }


def test_parts_that_are_not_chosen_are_accounted_for(tmp_path: Path) -> None:
    put_pairs(tmp_path / "train", "a.png")
    put_pairs(tmp_path / "test", "b.png", "c.png")
    pairs = find_pairs(tmp_path, role="train")
    assert reasons_of(pairs) == {"of another part or scale": 4}
    photos = tmp_path / "photos"
    put(photos, "a.png", "test/b.png")
    assert reasons_of(find_pairs(photos, role="test")) == {"of another part or scale": 1}


def test_an_lr_folder_counts_what_lies_in_the_hr_folder_beside_it(tmp_path: Path) -> None:
    put_pairs(tmp_path, "a.png")
    (tmp_path / "hr/notes.txt").touch()
    pairs = find_pairs(tmp_path / "lr", role="test")
    assert (len(pairs), reasons_of(pairs)) == (1, {"no image (.txt)": 1})


def test_two_folders_by_side_are_accounted_for(tmp_path: Path) -> None:
    put_pairs(tmp_path, "a.png", hr="sharp", lr="soft")
    (tmp_path / "soft/Thumbs.db").touch()
    assert reasons_of(pair_folders(tmp_path / "sharp", tmp_path / "soft")) == {"left behind by a system": 1}


def test_sides_that_are_exchanged_are_told_by_their_sizes(tmp_path: Path) -> None:
    put_pairs(tmp_path, "a.png", "b.png", hr="lr", lr="hr")
    with pytest.raises(DataError, match=r"LR side is 4 times the HR side, as in a: the sides are exchanged") as caught:
        find_pairs(tmp_path, role="test")
    assert caught.value.hint == "exchange the names of the two sides"
    with pytest.raises(DataError, match="exchanged") as caught:
        pair_folders(tmp_path / "hr", tmp_path / "lr")
    assert caught.value.hint == "exchange `hr_dir` and `lr_dir`"


def test_a_single_pair_that_is_exchanged_is_named(tmp_path: Path) -> None:
    put_pairs(tmp_path, "b.png", "c.png", "d.png")
    put_pairs(tmp_path, "a.png", hr="lr", lr="hr")
    pairs = find_pairs(tmp_path, role="test")
    assert pairs.ratio == 4
    with pytest.raises(DataError, match=r"1 of 4 .* a: .*the LR side is 4 times the HR side"):
        check_pairs(pairs, Silent())
    checked = check_pairs(pairs, Silent(), strict=False).pairs
    assert [pair.name for pair in checked.pairs] == ["b", "c", "d"]
    assert [name for name, _ in checked.faults] == ["a"]
    assert reasons_of(checked) == {"of pairs that cannot be used": 2}


def test_a_set_without_a_usable_pair_is_refused_in_any_case(tmp_path: Path) -> None:
    put_pairs(tmp_path, "a.png", "b.png")
    for path in (tmp_path / "hr").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="none of the first pairs can be read"):
        check_pairs(find_pairs(tmp_path, role="test"), Silent(), strict=False)


@pytest.mark.parametrize("ending", ["psd", "exr", "jp2", "npy"])
def test_the_other_side_of_a_type_that_is_not_read_is_named(tmp_path: Path, ending: str) -> None:
    put_pairs(tmp_path, "a.png", "b.png")
    (tmp_path / "hr/b.png").rename(tmp_path / f"hr/b.{ending}")
    with pytest.raises(DataError, match=rf"b\.png \(LR; b\.{ending} is there, but \.{ending} is not read\)") as caught:
        find_pairs(tmp_path, role="train")
    assert "convert" in caught.value.hint
    (tmp_path / "hr/a.png").rename(tmp_path / f"hr/a.{ending}")
    with pytest.raises(DataError, match=rf"no HR side goes with it: 2 files: .*not read \(\.{ending}\)"):
        find_pairs(tmp_path, role="train")


def test_a_folder_of_packed_data_says_how_to_unpack_it(tmp_path: Path) -> None:
    for name in ("DIV2K_HR.lmdb/data.mdb", "DIV2K_LR.lmdb/data.mdb"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"no images in .*: no image \(\.mdb\)") as caught:
        find_pairs(tmp_path, role="train")
    assert "DIV2K_HR.lmdb is an LMDB" in caught.value.hint


def test_images_beside_an_hr_folder_are_not_taken_for_nothing(tmp_path: Path) -> None:
    put(tmp_path, "gt/a.png", "gt/b.png", size=(32, 32))
    put(tmp_path, "captured/a.png", "captured/b.png")
    pairs = find_pairs(tmp_path, role="train")
    assert (pairs.layout, len(pairs)) == ("photos only", 2)
    group = pairs.left_out[0]
    assert (group.reason, len(group.paths), group.is_unexpected) == (NO_SIDE, 2, True)


def test_half_pairs_tell_in_which_data_they_are(tmp_path: Path) -> None:
    put_pairs(tmp_path / "val", "a.png", "b.png")
    (tmp_path / "val/lr/b.png").unlink()
    with pytest.raises(DataError, match=rf"1 image in {tmp_path}/val/hr without the other side: b\.png \(HR\)"):
        find_pairs(tmp_path / "val", role="val")
    with pytest.raises(DataError, match=rf"1 image in {tmp_path}/val/hr without the other side: b\.png \(HR\)"):
        pair_folders(tmp_path / "val/hr", tmp_path / "val/lr")
