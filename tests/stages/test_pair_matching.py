"""Which photographs belong together."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from stages.pair_files import save

from adaptsr_cli.errors import AdaptsrError, ImageError, UsageError
from adaptsr_cli.io.shot_exif import ShotFacts, find_exif, parse_shot_facts, read_shot_facts
from adaptsr_cli.stages.pair import matching
from adaptsr_cli.stages.pair.matching import Candidate, Matched, find_shots, match_photographs

NOON = datetime(2026, 5, 1, 12)


def photo(name: str, second: float, focal: float, camera: str = "A") -> Candidate:
    return Candidate(Path(name), ShotFacts(NOON + timedelta(seconds=second), None, focal, camera))


def unseen(first: Path, second: Path) -> float | None:
    raise AssertionError("EXIF was enough")


def untold(path: Path, error: AdaptsrError) -> None:
    raise AssertionError(f"{path} can be read")


def names(matched: Matched) -> list[tuple[str, str]]:
    return [
        ("+".join(path.stem for path in shot.wide), "+".join(path.stem for path in shot.tele)) for shot in matched.shots
    ]


def test_wide_and_tele_by_time_and_focal_length_whatever_the_order() -> None:
    found = [photo("t1", 0, 52), photo("w1", 14, 26), photo("w2", 400, 26), photo("t2", 410, 52), photo("x", 900, 26)]
    matched = match_photographs(found, unseen)
    assert names(matched) == [("w1", "t1"), ("w2", "t2")]
    assert matched.alone == (Path("x"),)


def test_scenes_in_quick_succession() -> None:
    found = [photo("w1", 0, 26), photo("t1", 5, 52), photo("w2", 20, 26), photo("t2", 26, 52)]
    assert names(match_photographs(found, unseen)) == [("w1", "t1"), ("w2", "t2")]


def test_one_wide_with_several_teles() -> None:
    found = [photo("w", 0, 26), photo("t", 5, 52), photo("tt", 9, 130)]
    assert names(match_photographs(found, unseen)) == [("w", "t"), ("w", "tt")]


def test_bursts() -> None:
    found = [photo("w1", 0, 26), photo("w2", 1, 26), photo("t1", 10, 52), photo("t2", 11, 52), photo("t3", 30, 52)]
    assert names(match_photographs(found, unseen)) == [("w1+w2", "t1+t2"), ("w1+w2", "t3")]


def test_cameras_are_kept_apart() -> None:
    found = [photo("a", 0, 26), photo("b", 1, 52, camera="B")]
    with pytest.raises(UsageError, match="none of the 2 photographs"):
        match_photographs(found, unseen)


def test_photographs_without_exif_are_matched_by_content() -> None:
    found = [Candidate(Path(name), ShotFacts()) for name in ("a", "b", "c", "d")]
    zooms = {("a", "b"): None, ("a", "c"): 0.5, ("b", "d"): 2.0, ("a", "d"): None}
    matched = match_photographs(found, lambda one, other: zooms[one.name, other.name])
    assert names(matched) == [("c", "a"), ("b", "d")]


def test_the_header_tells_time_and_focal_length(tmp_path: Path) -> None:
    image = np.zeros((16, 24, 3), np.uint8)
    for name in ("a.jpg", "a.png", "a.tif"):
        path = save(tmp_path / name, image, taken="2026:05:01 12:00:03", focal_35_mm=26, focal_mm=4.25)
        facts = read_shot_facts(path)
        assert facts == ShotFacts(datetime(2026, 5, 1, 12, 0, 3, 250_000), 4.25, 26, "Test 1"), name


@pytest.mark.parametrize("cut", [0, 2, 8, 30, 60, 100])
def test_a_cut_header_has_no_facts_and_does_no_harm(tmp_path: Path, cut: int) -> None:
    path = save(tmp_path / "a.jpg", np.zeros((16, 24, 3), np.uint8), taken="2026:05:01 12:00:03", focal_mm=4.25)
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    read_shot_facts(path)
    exif = find_exif(data)
    assert exif is not None
    parse_shot_facts(exif[:cut])
    assert read_shot_facts(tmp_path / "missing.jpg") == ShotFacts()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no photographs"):
        find_shots((), None, unseen, untold)
    with pytest.raises(UsageError, match="does not exist"):
        find_shots((tmp_path / "a.jpg", tmp_path / "b.jpg"), None, unseen, untold)
    with pytest.raises(UsageError, match="no photograph"):
        find_shots((tmp_path,), None, unseen, untold)
    one = save(tmp_path / "a.jpg", np.zeros((16, 24, 3), np.uint8))
    with pytest.raises(UsageError, match="one photograph"):
        find_shots((tmp_path,), None, unseen, untold)
    with pytest.raises(UsageError, match="list_file"):
        find_shots((one,), tmp_path / "table.txt", unseen, untold)


def test_shots_of_equal_names_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        for name in ("wide.jpg", "tele.jpg"):
            save(tmp_path / folder / name, np.zeros((16, 24, 3), np.uint8))
    table = tmp_path / "table.txt"
    table.write_text("a/wide.jpg, a/tele.jpg\nb/wide.jpg, b/tele.jpg\n")
    matched = find_shots((), table, unseen, untold)
    assert [shot.name for shot in matched.shots] == ["wide_tele", "wide_tele_2"]


def test_a_table_may_name_a_photograph_in_several_shots_but_no_shot_twice(tmp_path: Path) -> None:
    for name in ("wide.jpg", "near.jpg", "far.jpg"):
        save(tmp_path / name, np.zeros((16, 24, 3), np.uint8))
    table = tmp_path / "table.txt"
    table.write_text("wide.jpg, near.jpg\nwide.jpg, far.jpg\nnear.jpg, far.jpg\n")
    assert [shot.name for shot in find_shots((), table, unseen, untold).shots] == ["wide_near", "wide_far", "near_far"]
    for again in ("wide.jpg, near.jpg", f"near.jpg, {tmp_path}/wide.jpg"):
        table.write_text(f"wide.jpg, near.jpg\n# again\n{again}\n")
        with pytest.raises(UsageError, match="lines 1 and 3 name the same two files"):
            find_shots((), table, unseen, untold)
    table.write_text("wide.jpg, wide.jpg\n")
    with pytest.raises(UsageError, match="line 1 names one file twice"):
        find_shots((), table, unseen, untold)


def test_a_photograph_that_is_named_beside_its_folder_is_one(tmp_path: Path) -> None:
    image = np.zeros((16, 24, 3), np.uint8)
    wide, tele = (
        save(tmp_path / f"{mm}.jpg", image, taken=f"2026:05:01 12:00:{mm}", focal_35_mm=mm) for mm in (26, 52)
    )
    shots = find_shots((tmp_path, wide, tele), None, unseen, untold).shots
    assert [(shot.wide, shot.tele) for shot in shots] == [((wide,), (tele,))]


def test_a_header_that_cannot_be_read_is_told_and_the_others_are_matched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = matching.read_facts

    def read(path: Path) -> ShotFacts:
        if path.stem == "broken":
            raise ImageError(f"cannot read {path}: damaged")
        return whole(path)

    monkeypatch.setattr(matching, "read_facts", read)
    image = np.zeros((16, 24, 3), np.uint8)
    for second, (name, focal) in enumerate((("wide", 26), ("broken", 26), ("tele", 52))):
        save(tmp_path / f"{name}.jpg", image, taken=f"2026:05:01 12:00:0{second}", focal_35_mm=focal)
    told: list[str] = []
    matched = find_shots((tmp_path,), None, unseen, lambda path, error: told.append(path.name))
    assert told == ["broken.jpg"]
    assert names(matched) == [("wide", "tele")]
    assert matched.alone == ()
