"""One process at a time; leftovers of killed ones are removed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.io.lock import hold_folder


def test_within_one_process_it_can_be_held_twice(tmp_path: Path) -> None:
    with hold_folder(tmp_path / "run"), hold_folder(tmp_path / "run"):
        pass
    with hold_folder(tmp_path / "run"):
        pass


def test_half_written_files_of_killed_processes_go(tmp_path: Path) -> None:
    left = tmp_path / ".partial-abc.png"
    others = [tmp_path / ".partial-new.png", tmp_path / "another-run" / ".partial-x.safetensors"]
    for path in (left, *others):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    for path in (left, others[1]):
        os.utime(path, (0, 0))
    (tmp_path / "adapter.safetensors").write_bytes(b"whole")
    with hold_folder(tmp_path):
        assert not left.exists()
        assert all(path.exists() for path in others)  # somebody may be writing them
        assert (tmp_path / "adapter.safetensors").read_bytes() == b"whole"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AdaptsrError, match="cannot write into"), hold_folder(tmp_path / "run"):
        pass


def test_a_file_in_the_way_is_said_with_the_option_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "pairs").write_text("a file")
    with pytest.raises(AdaptsrError, match="cannot write into") as caught, hold_folder(tmp_path / "pairs", "output"):
        pass
    assert "another `output`" in str(caught.value.hint)
