from __future__ import annotations

from pathlib import Path

import pytest

from adaptsr_cli.io import cache_folder
from adaptsr_cli.io.cache_folder import cache_dir


@pytest.mark.parametrize(
    ("platform", "variable", "below"),
    [("linux", "XDG_CACHE_HOME", ""), ("win32", "LOCALAPPDATA", ""), ("darwin", "HOME", "Library/Caches")],
)
def test_the_systems_own_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, variable: str, below: str
) -> None:
    monkeypatch.delenv("ADAPTSR_CACHE")
    monkeypatch.setattr(cache_folder.sys, "platform", platform)
    monkeypatch.setenv(variable, str(tmp_path))
    assert cache_dir() == tmp_path / below / "adaptsr"
    assert list(tmp_path.iterdir()) == []


def test_the_variable_goes_before_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("ADAPTSR_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.setenv("ADAPTSR_CACHE", "")
    monkeypatch.setattr(cache_folder.sys, "platform", "linux")
    assert cache_dir() == tmp_path / "other" / "adaptsr"
