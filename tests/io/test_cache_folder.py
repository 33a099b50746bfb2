from __future__ import annotations

import sys
from pathlib import Path

import pytest
from platformdirs import macos, windows

from adaptsr_cli.io import cache_folder
from adaptsr_cli.io.cache_folder import cache_dir


@pytest.mark.skipif(sys.platform != "linux", reason="the place is that of Linux")
def test_the_systems_own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ADAPTSR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "adaptsr"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "adaptsr"
    assert list(tmp_path.iterdir()) == []


def test_other_systems_get_one_folder_of_our_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, dict[str, bool]]] = []

    def place(name: str, **options: bool) -> Path:
        given.append((name, options))
        return Path(name)

    monkeypatch.delenv("ADAPTSR_CACHE")
    monkeypatch.setattr(cache_folder.platformdirs, "user_cache_path", place)
    cache_dir()
    name, options = given[0]
    monkeypatch.setattr(windows, "get_win_folder", lambda kind: "C:/local")
    assert windows.Windows(name, **options).user_cache_dir.replace("\\", "/") == "C:/local/adaptsr"
    assert macos.MacOS(name, **options).user_cache_dir.endswith("/Library/Caches/adaptsr")


def test_the_variable_goes_before_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADAPTSR_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.setenv("ADAPTSR_CACHE", "")
    assert cache_dir() != Path()
    assert cache_dir().name == "adaptsr"
