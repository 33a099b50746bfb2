"""Letters of names in pictures: each is drawn with the first face that has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptsr_cli.report import page

LACKING = "\u2900"  # an arrow that DejaVu Serif has and DejaVu Sans has not; both travel with matplotlib


def draw(path: Path, text: str) -> bytes:
    with page.page_of(path, 2, 1) as figure:
        page.text_in(figure, 0.1, 0.1, text, fontweight="bold")
    return path.read_bytes()


def test_a_face_that_is_not_installed_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "get_font_names", lambda: ["DejaVu Sans", "IPAGothic", "Some Other Face"])
    assert page._faces() == ["DejaVu Sans", "IPAGothic"]


def test_a_face_of_the_system_draws_what_ours_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    box, latin = draw(tmp_path / "a.png", LACKING), draw(tmp_path / "b.png", "abc")
    monkeypatch.setattr(page, "_EAST_ASIAN_FACES", ("DejaVu Serif",))
    assert draw(tmp_path / "c.png", LACKING) != box
    assert draw(tmp_path / "d.png", "abc") == latin
