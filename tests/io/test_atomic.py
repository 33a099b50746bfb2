"""Writes that are whole or not there, and what a killed process leaves."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adaptsr_cli.io.atomic import drop_old_partial_files, replace_atomically, write_bytes


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")

    def fail() -> None:
        with replace_atomically(target) as temporary:
            temporary.write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "before"


def test_only_old_leftovers_are_dropped(tmp_path: Path) -> None:
    for name in (".partial-old.png", ".partial-new.png", "old.png"):
        (tmp_path / name).write_bytes(b"x")
        if "old" in name:
            os.utime(tmp_path / name, (0, 0))
    drop_old_partial_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".partial-new.png", "old.png"]
    drop_old_partial_files(tmp_path / "missing")


def test_files_written_by_many_threads_have_the_mode_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda index: write_bytes(tmp_path / str(index), b"x"), range(200)))
        assert os.umask(0o027) == 0o027
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o640}
    finally:
        os.umask(before)
