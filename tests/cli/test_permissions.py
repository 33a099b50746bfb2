"""Files that may not be read: every command says so, and takes them neither for missing nor for useless."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from stages.pair_files import save


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files called ``locked`` may not be read, not even by root."""
    open_file, may = io.open, os.access

    def refuse(file: Any, *words: Any, **options: Any) -> Any:
        if isinstance(file, str | Path) and Path(file).stem == "locked":
            raise PermissionError(13, "Permission denied", str(file))
        return open_file(file, *words, **options)

    monkeypatch.setattr(io, "open", refuse)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).stem != "locked" and may(path, mode))


@pytest.mark.parametrize(
    "words",
    [
        ("pair", "shots/wide.jpg", "shots/locked.jpg"),
        ("pair", "shots"),
        ("upscale", "shots/locked.jpg"),
        ("info", "locked.safetensors"),
        ("merge", "--adapter", "locked.safetensors"),
        ("upscale", "shots/wide.jpg", "--model", "locked.safetensors"),
        ("train", "--data", "shots", "--config", "locked.toml"),
    ],
)
def test_what_may_not_be_read_is_told(words: tuple[str, ...], adaptsr: Command, locked: None) -> None:
    if words[0] == "pair":
        pytest.importorskip("cv2", reason="OpenCV is not installed (extra pair)")
    image = np.zeros((16, 24, 3), np.uint8)
    for name, focal_35_mm in (("wide", 26), ("locked", 52)):
        save(Path("shots", f"{name}.jpg"), image, taken=f"2026:05:01 12:00:{focal_35_mm}", focal_35_mm=focal_35_mm)
    for name in ("locked.safetensors", "locked.toml"):
        Path(name).touch()
    done = adaptsr(*words)
    assert done.code in (1, 2)
    assert f"cannot read {next(word for word in (*words, 'shots/locked.jpg') if 'locked' in word)}" in done.err
    assert "Permission denied" in done.err
    assert "is not readable" not in done.err
