"""``adaptsr pair`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command
from stages.pair_files import save, save_shot, shot

pytest.importorskip("cv2", reason="OpenCV is not installed (extra pair)")


def test_two_photographs_become_pairs(adaptsr: Command, tmp_path: Path) -> None:
    wide, tele = save_shot(tmp_path)
    ran = adaptsr("pair", wide, tele, "--output", "mine", "--scale", 2, "--block", 48)
    assert ran.code == 0, ran.err
    assert "pairs made by adaptsr pair, x2, " in ran.out
    assert "next: adaptsr adapt --data mine" in ran.out
    assert (tmp_path / "mine" / "pairs.html").is_file()
    again = adaptsr("pair", wide, tele, "--output", "mine", "--scale", 2, "--block", 48, "--json")
    told = json.loads(again.out)
    assert told["made"] == []
    assert told["pairs"] == len(list((tmp_path / "mine" / "hr").iterdir())) > 5


def test_a_folder_of_shots_is_matched_by_exif(adaptsr: Command, tmp_path: Path) -> None:
    made = shot()
    save(tmp_path / "shots" / "b.jpg", made.wide, taken="2026:05:01 12:00:00", focal_35_mm=26)
    save(tmp_path / "shots" / "a.jpg", made.tele, taken="2026:05:01 12:00:09", focal_35_mm=55)
    save(tmp_path / "shots" / "c.jpg", made.wide[:200], taken="2026:05:01 18:00:00", focal_35_mm=26)
    ran = adaptsr("pair", "shots", "-o", "mine", "--scale", 2, "--block", 48, "--keep_colour")
    assert ran.code == 0, ran.err
    assert "c.jpg: no other photograph belongs to it" in ran.err
    assert json.loads((tmp_path / "mine" / "pairs.json").read_text())["shots"][0]["wide"]["file"] == "b.jpg"


def test_nothing_usable_is_exit_code_1(adaptsr: Command, tmp_path: Path) -> None:
    wide, _ = save_shot(tmp_path)
    ran = adaptsr("pair", wide, save(tmp_path / "copy.png", shot().wide), "--scale", 2)
    assert ran.code == 1
    assert "the same photograph" in ran.err
    assert "none of 1 shot could be used" in ran.out


def test_an_unreadable_shot_is_told_and_the_exit_code_is_that_of_the_others(adaptsr: Command, tmp_path: Path) -> None:
    wide, tele = save_shot(tmp_path)
    (tmp_path / "bad.jpg").write_bytes(tele.read_bytes()[:9000])
    (tmp_path / "shots.txt").write_text(f"{wide.name}, bad.jpg\n{wide.name}, {tele.name}\n")
    ran = adaptsr("pair", "--list", "shots.txt", "-o", "mine", "--scale", 2, "--block", 48)
    assert ran.code == 0, ran.err
    assert "wide_bad is refused: " in ran.err
    assert (tmp_path / "mine" / "pairs.html").is_file()
    alone = adaptsr("pair", wide, "bad.jpg", "-o", "other", "--scale", 2)
    assert alone.code == 1
    assert "none of 1 shot could be used" in alone.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no photographs"),
        (("missing.jpg", "b.jpg"), "missing.jpg does not exist"),
        (("a.png", "b.png", "--block", "50"), "a multiple of 16"),
    ],
)
def test_what_is_typed_wrong_is_exit_code_2(adaptsr: Command, words: tuple[str, ...], said: str) -> None:
    ran = adaptsr("pair", *words)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err
