from __future__ import annotations

from pathlib import Path

import pytest

from adaptsr_cli.data.sources import DataSpec, WeightedFolder, choose_data, parse_folder
from adaptsr_cli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "path", "weight"),
    [
        ("photos", "photos", None),
        ("b:0.3", "b", 0.3),
        ("b:2", "b", 2.0),
        ("b:.125", "b", 0.125),
        ("a:b:0.5", "a:b", 0.5),
        (r"C:\photos", r"C:\photos", None),
        (r"C:\photos:0.3", r"C:\photos", 0.3),
        ("C:/photos", "C:/photos", None),
        (":0.3", ":0.3", None),
        ("missing:word", "missing:word", None),
    ],
)
def test_folders_with_and_without_weight(text: str, path: str, weight: float | None) -> None:
    assert parse_folder(text) == WeightedFolder(Path(path), weight)


def test_a_path_that_exists_goes_before_the_split(tmp_path: Path) -> None:
    folder = tmp_path / "session:0.3"
    folder.mkdir()
    assert parse_folder(str(folder)) == WeightedFolder(folder, None)
    assert parse_folder(f"{folder}:0.7") == WeightedFolder(folder, 0.7)


@pytest.mark.parametrize("weight", ["0", "0.0", "1001", "-1", "nan", "x", "0.0001", "1e-3", ""])
def test_what_is_no_weight_is_refused_where_the_folder_exists(tmp_path: Path, weight: str) -> None:
    with pytest.raises(UsageError, match="is not a weight") as caught:
        parse_folder(f"{tmp_path}:{weight}")
    assert "FOLDER:WEIGHT" in caught.value.hint


def test_exactly_one_way_of_naming_images() -> None:
    a, b = Path("a"), Path("b")
    assert DataSpec.of(a) == choose_data(["a"], None, None, None, "none")
    assert choose_data(None, a, b, None, "shift") == DataSpec(hr=a, lr=b, align="shift")
    assert choose_data([], None, None, a, "none") == DataSpec(list_file=a)
    for words, text in (
        (([], None, None, None), "`data` is missing"),
        (([], a, None, None), "`hr_dir` without `lr_dir`"),
        (([], None, a, None), "`lr_dir` without `hr_dir`"),
        ((["c"], a, b, None), "`data` together with `hr_dir` and `lr_dir`"),
        (([], a, b, a), "`hr_dir` and `lr_dir` together with `list_file`"),
        ((["c"], None, None, a), "`data` together with `list_file`"),
        ((["c", "d", "./c:0.5"], None, None, None), "names c twice"),
    ):
        with pytest.raises(UsageError, match=text):
            choose_data(*words, "none")


def test_the_choice_in_words() -> None:
    assert choose_data(["a", "b:0.3"], None, None, None, "none").describe() == "a, b:0.3"
    assert DataSpec(hr=Path("x"), lr=Path("y")).describe() == "x and y"
    assert DataSpec(list_file=Path("l.txt")).describe() == "l.txt"
