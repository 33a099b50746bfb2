from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from adaptsr_cli.data.layouts import PairSet
from adaptsr_cli.data.listing import pair_folders, read_list
from adaptsr_cli.errors import DataError


def put(root: Path, *names: str, size: tuple[int, int] = (8, 8)) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (90, 80, 70)).save(root / name)


def files_of(pairs: PairSet, root: Path) -> list[tuple[str, str, str]]:
    return [
        (pair.name, pair.lr.relative_to(root).as_posix() if pair.lr else "", pair.hr.relative_to(root).as_posix())
        for pair in pairs.pairs
    ]


def test_two_folders_of_any_name_are_paired_by_file_names(tmp_path: Path) -> None:
    put(tmp_path, "sharp/10.png", "sharp/9.png", "sharp/deep/x.png", size=(32, 32))
    put(tmp_path, "LR_is_not_meant/9x4.png", "LR_is_not_meant/10x4.jpg", "LR_is_not_meant/deep/x.png")
    pairs = pair_folders(tmp_path / "sharp", tmp_path / "LR_is_not_meant")
    assert files_of(pairs, tmp_path) == [
        ("10", "LR_is_not_meant/10x4.jpg", "sharp/10.png"),
        ("9", "LR_is_not_meant/9x4.png", "sharp/9.png"),
        ("deep/x", "LR_is_not_meant/deep/x.png", "sharp/deep/x.png"),
    ]
    assert pairs.describe() == "HR sharp, LR LR_is_not_meant, x4, 3 pairs"


def test_two_folders_that_cannot_be_paired(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/2.png", "b/1.png")
    (tmp_path / "empty").mkdir()
    for hr, lr, text in (
        ("a", "b", "1 image .* without the other side: 2.png"),
        ("a", "none", "there is no folder"),
        ("empty", "a", "no images in .*empty"),
        ("a", "a", "`hr_dir` and `lr_dir` are both"),
    ):
        with pytest.raises(DataError, match=text):
            pair_folders(tmp_path / hr, tmp_path / lr)


@pytest.mark.parametrize(
    "line", ["{hr}, {lr}", "{hr},{lr}", "{hr}\t{lr}", "{lr}, {hr}", "  {lr}\t{hr}  "], ids=range(5)
)
def test_the_sizes_tell_the_sides_of_a_list(tmp_path: Path, line: str) -> None:
    put(tmp_path, "h/a.png", "h/b.png", size=(32, 32))
    put(tmp_path, "l/a.png", "l/b small.png")
    lines = [line.format(hr="h/b.png", lr="l/b small.png"), "", "# remark", line.format(hr="h/a.png", lr="l/a.png")]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    pairs = read_list(tmp_path / "list.txt")
    assert files_of(pairs, tmp_path) == [("a", "l/a.png", "h/a.png"), ("b", "l/b small.png", "h/b.png")]
    assert pairs.describe() == "pairs of a list, x4, 2 pairs"


def test_of_one_size_the_first_is_hr(tmp_path: Path) -> None:
    put(tmp_path, "h/a.png", "l/a.png")
    (tmp_path / "list.csv").write_text("h/a.png,l/a.png\n", encoding="utf-8-sig")
    pairs = read_list(tmp_path / "list.csv")
    assert files_of(pairs, tmp_path) == [("a", "l/a.png", "h/a.png")]
    assert pairs.ratio == 1


def test_one_path_a_line_is_a_photo_even_with_a_comma(tmp_path: Path) -> None:
    put(tmp_path, "x/a.png", "y/a.png", "Rome, 2024.png")
    (tmp_path / "list.txt").write_text(f"x/a.png\n{tmp_path / 'y' / 'a.png'}\nRome, 2024.png\n")
    pairs = read_list(tmp_path / "list.txt")
    assert [pair.name for pair in pairs.pairs] == ["Rome, 2024", "x/a.png", "y/a.png"]
    assert pairs.ratio is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "names no images"),
        ("# only a remark\n", "names no images"),
        ("a.png, b.png\n\na.png", "line 3 names a photo, the lines before it a pair"),
        ("a.png, b.png, a.png", "line 1 is neither a pair nor a photo"),
        ("a.png,", "line 1 is neither a pair nor a photo"),
        ("a.png, b.png\n#\na.png, gone.png", "line 3: there is no file .*gone.png"),
        ("gone.png", "line 1: there is no file"),
        (".", "line 1: there is no file"),
        ("a.png, a.png", "line 1 names one file twice"),
        ("a.png\na.png", "names a.png twice"),
        ("\0", "names no images"),
        ("a" * 5000, "line 1: there is no file"),
    ],
)
def test_bad_lines_are_named_by_their_number(tmp_path: Path, text: str, fault: str) -> None:
    put(tmp_path, "a.png", "b.png")
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match=fault):
        read_list(tmp_path / "list.txt")


def test_a_list_may_be_of_another_system(tmp_path: Path) -> None:
    put(tmp_path, "ä.png", "b.png")
    for encoding in ("utf-16", "utf-8-sig", "cp1252"):
        (tmp_path / "list.txt").write_bytes("# pairs\r\nä.png\r\n\r\nb.png\r\n".encode(encoding))
        assert [pair.hr.name for pair in read_list(tmp_path / "list.txt").pairs] == ["b.png", "ä.png"]


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "image.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\x01")
    for name, text in (
        ("none.txt", "No such file"),
        ("bytes.txt", "UTF-16"),
        ("image.txt", "no text file"),
        ("", "a folder"),
    ):
        with pytest.raises(DataError, match=text):
            read_list(tmp_path / name)
