"""Pipes, sockets and devices are told from files without opening them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from adaptsr_cli.io.file_kinds import describe_irregular


def test_every_kind_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the address of a socket is short
    os.mkfifo("pipe")
    Path("file").touch()
    Path("link").symlink_to("file")
    Path("way").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    expected = {
        "pipe": "a pipe",
        "way": "a pipe",
        "file": None,
        "link": None,
        "socket": "a socket",
        ".": "a folder",
        os.devnull: "a device",
    }
    assert {name: describe_irregular(Path(name)) for name in expected} == expected


@pytest.mark.parametrize("name", ["missing", "a\0b", "x" * 300])
def test_what_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No such file|too long"):
        describe_irregular(tmp_path / name)
