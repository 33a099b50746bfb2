from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from damaged_files import DAMAGED, HEIGHT, WIDTH
from PIL import Image

from adaptsr_cli.data import preflight
from adaptsr_cli.data.layouts import Pair, PairSet, find_pairs
from adaptsr_cli.data.preflight import check_pairs
from adaptsr_cli.errors import DataError
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.progress import Silent


def put(root: Path, *names: str, size: tuple[int, int] = (8, 8)) -> None:
    """Writes small images of (width, height) at the names below the root."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (90, 80, 70)).save(root / name)


def test_checking_counts_all_bad_pairs_and_names_three(tmp_path: Path) -> None:
    for index in range(8):
        put(tmp_path, f"hr/{index}.png", size=(32, 32))
        put(tmp_path, f"lr/{index}.png")
    whole = (tmp_path / "hr" / "1.png").read_bytes()
    (tmp_path / "hr" / "1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "lr" / "3.png").write_text("no image")
    put(tmp_path, "lr/5.png", size=(16, 16))
    put(tmp_path, "lr/7.png", size=(9, 8))
    with pytest.raises(DataError) as caught:
        check_pairs(find_pairs(tmp_path, role="train"), Silent(), role="val")
    message = caught.value.message
    assert message.startswith("4 of 8 pairs of the val data in")
    assert all(name in message for name in ("1.png", "3.png", "5: LR 16 x 16, HR 32 x 32 is not x4", "1 more"))


@pytest.mark.parametrize("kind", ["jpeg-hole", "jpeg-cut-with-an-end-mark", "png-few-rows", "tiff-jpeg-hole"])
@pytest.mark.parametrize("side", ["hr", "lr"])
def test_damage_that_decoders_pass_over_is_a_fault_of_the_pair(kind: str, side: str, tmp_path: Path) -> None:
    suffix, data = DAMAGED[kind]()
    put(tmp_path, "hr/a.png", size=(4 * WIDTH, 4 * HEIGHT) if side == "lr" else (WIDTH, HEIGHT))
    put(tmp_path, "lr/a.png", size=(WIDTH, HEIGHT) if side == "lr" else (WIDTH // 4, HEIGHT // 4))
    (tmp_path / side / "a.png").unlink()
    (tmp_path / side / f"a{suffix}").write_bytes(data)
    with pytest.raises(DataError, match=r"1 of 1 pair .*damaged or truncated"):
        check(tmp_path)


def test_the_ratio_is_that_of_most_pairs(tmp_path: Path) -> None:
    for index in range(3):
        put(tmp_path, f"hr/{index}.png", size=(32, 32))
        put(tmp_path, f"lr/{index}.png", size=(16, 16) if index == 0 else (8, 8))
    with pytest.raises(DataError, match=r"1 of 3 pairs .* 0: LR 16 x 16, HR 32 x 32 is not x4"):
        check_pairs(find_pairs(tmp_path, role="train"), Silent())


@pytest.mark.parametrize("size", [(35, 33), (32, 35), (29, 32)])
def test_less_than_an_lr_pixel_too_much_is_trimmed_and_said(tmp_path: Path, size: tuple[int, int]) -> None:
    put(tmp_path, "hr/a.png", size=size)
    put(tmp_path, "lr/a.png")
    pairs = check_pairs(find_pairs(tmp_path, role="train"), Silent()).pairs
    assert pairs.ratio == 4
    assert pairs.notes == ("1 pair trimmed at the right and bottom to fit x4",)


@pytest.mark.parametrize("size", [(36, 32), (32, 28), (20, 20), (4, 4)])
def test_a_whole_lr_pixel_too_much_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    put(tmp_path, "hr/a.png", "hr/b.png", "hr/c.png", size=(32, 32))
    put(tmp_path, "lr/a.png", "lr/b.png", "lr/c.png")
    put(tmp_path, "hr/b.png", size=size)
    with pytest.raises(DataError, match="1 of 3 pairs"):
        check_pairs(find_pairs(tmp_path, role="train"), Silent())


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were decoded, in any order."""
    names: list[str] = []
    real = preflight.read_rgb

    def count(path: Path) -> np.ndarray:
        names.append(f"{path.parent.name}/{path.name}")
        return real(path)

    monkeypatch.setattr(preflight, "read_rgb", count)
    return names


def put_pairs(root: Path, count: int = 3) -> None:
    for index in range(count):
        put(root, f"hr/{index}.png", size=(32, 32))
        put(root, f"lr/{index}.png")


def check(root: Path, *, alignment: bool = False) -> preflight.Checked:
    return check_pairs(find_pairs(root, role="train"), Silent(), alignment=alignment)


def cache_file() -> Path:
    (place,) = Path(os.environ["ADAPTSR_CACHE"], "preflight").glob("*.json")
    return place


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, decoded: list[str]) -> None:
    put_pairs(tmp_path)
    first = check(tmp_path)
    assert len(decoded) == 6
    decoded.clear()
    assert check(tmp_path) == first
    assert decoded == []
    put_pairs(tmp_path, 4)  # the first three are written anew: other times
    put(tmp_path, "hr/1.png", size=(33, 32))
    decoded.clear()
    assert check(tmp_path).pairs.notes == ("1 pair trimmed at the right and bottom to fit x4",)
    assert "hr/1.png" in decoded
    assert "hr/3.png" in decoded


def test_only_the_changed_pair_is_read_again(tmp_path: Path, decoded: list[str]) -> None:
    put_pairs(tmp_path)
    check(tmp_path)
    decoded.clear()
    state = (tmp_path / "lr" / "1.png").stat()
    os.utime(tmp_path / "lr" / "1.png", ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    check(tmp_path)
    assert sorted(decoded) == ["hr/1.png", "lr/1.png"]


def test_alignment_is_measured_when_first_wanted(tmp_path: Path, decoded: list[str]) -> None:
    put_pairs(tmp_path)
    assert check(tmp_path).alignments == (None, None, None)
    assert [entry and entry.verdict for entry in check(tmp_path, alignment=True).alignments] == ["flat"] * 3
    assert len(decoded) == 12
    assert check(tmp_path, alignment=True).alignments[0] is not None
    assert check(tmp_path).alignments == (None, None, None)  # known, but not wanted
    assert len(decoded) == 12


def test_faults_are_found_again_and_the_rest_is_remembered(tmp_path: Path, decoded: list[str]) -> None:
    put_pairs(tmp_path)
    (tmp_path / "hr" / "1.png").write_bytes(b"no image")
    for expected in (5, 1):  # the LR side of a damaged HR side is not looked at
        decoded.clear()
        with pytest.raises(DataError, match="1 of 3 pairs"):
            check(tmp_path)
        assert len(decoded) == expected


@pytest.mark.parametrize("text", ["", "{", "[]", '{"artifact": "preflight"}', "\0\1", '{"pairs": [1]}'])
def test_a_damaged_cache_is_written_anew(tmp_path: Path, decoded: list[str], text: str) -> None:
    put_pairs(tmp_path)
    expected = check(tmp_path)
    whole = cache_file().read_text()
    cache_file().write_text(text)
    decoded.clear()
    assert check(tmp_path) == expected
    assert len(decoded) == 6
    assert cache_file().read_text() == whole


def test_a_cache_of_another_version_is_written_anew(tmp_path: Path, decoded: list[str]) -> None:
    put_pairs(tmp_path)
    check(tmp_path)
    document = json.loads(cache_file().read_text())
    cache_file().write_text(json.dumps(document | {"format_version": 2}))
    decoded.clear()
    check(tmp_path)
    assert len(decoded) == 6


def test_what_is_gone_is_forgotten_and_other_splits_are_not(tmp_path: Path, decoded: list[str]) -> None:
    put_pairs(tmp_path / "train")
    put_pairs(tmp_path / "test", 2)
    check_pairs(find_pairs(tmp_path, role="train"), Silent())
    check_pairs(find_pairs(tmp_path, role="test"), Silent())
    assert len(json.loads(cache_file().read_text())["pairs"]) == 5
    for side in ("lr", "hr"):
        (tmp_path / "train" / side / "2.png").unlink()
    put(tmp_path / "test", "hr/0.png", size=(32, 32))
    check_pairs(find_pairs(tmp_path, role="test"), Silent())
    assert len(json.loads(cache_file().read_text())["pairs"]) == 4
    decoded.clear()
    check_pairs(find_pairs(tmp_path, role="train"), Silent())
    assert decoded == []


def test_a_cache_that_cannot_be_written_is_said_and_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("ADAPTSR_CACHE", str(tmp_path / "file"))
    put_pairs(tmp_path / "data")
    progress = Silent()
    assert len(check_pairs(find_pairs(tmp_path / "data", role="train"), progress).pairs) == 3
    assert len(progress.warnings) == 1
    assert "checked again next time" in progress.warnings[0]


def test_a_missing_file_is_a_fault_of_its_pair(tmp_path: Path) -> None:
    put_pairs(tmp_path)
    pairs = find_pairs(tmp_path, role="train")
    (tmp_path / "lr" / "2.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 pairs.*lr/2\.png: No such file"):
        check_pairs(pairs, Silent())


def test_photos_are_checked_too(tmp_path: Path, decoded: list[str]) -> None:
    put(tmp_path, "a.png", "b.png")
    for _ in range(2):
        checked = check(tmp_path, alignment=True)
        assert checked.pairs.ratio is None
        assert checked.alignments == (None, None)
    assert len(decoded) == 2


def test_names_that_are_no_text(tmp_path: Path, decoded: list[str]) -> None:
    name = os.fsdecode(b"\xff\xfe.png")
    try:
        write_rgb(tmp_path / "plain.png", np.zeros((8, 8, 3), np.uint8))
        (tmp_path / "plain.png").rename(tmp_path / name)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes only names that are text")
    pairs = PairSet(tmp_path, "photos only", (Pair("x", None, tmp_path / name),), None, "all")
    for _ in range(2):
        assert len(check_pairs(pairs, Silent()).pairs) == 1
    assert len(decoded) == 1


def test_an_interrupted_check_goes_on_where_it_was(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_pairs(tmp_path, 6)
    counting = preflight.read_rgb

    def press(path: Path) -> np.ndarray:
        if path.name == "5.png":
            raise KeyboardInterrupt
        return counting(path)

    monkeypatch.setattr(preflight, "read_rgb", press)
    with pytest.raises(KeyboardInterrupt):
        check(tmp_path)
    monkeypatch.setattr(preflight, "read_rgb", counting)
    decoded.clear()
    assert len(check(tmp_path).pairs) == 6
    assert sorted(decoded) == ["hr/5.png", "lr/5.png"]
