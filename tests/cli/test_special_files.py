"""Pipes where files are wanted: every command says so, and none waits for a writer that never comes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Command, noise

from adaptsr_cli.errors import AdaptsrError, OutputExistsError
from adaptsr_cli.io.images import write_rgb
from adaptsr_cli.stages.common.run_folder import refuse_overwriting


class Waits(BaseException):
    """A command waited for ever; nothing of ours takes it for an error of a file."""


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """Ends a test that waits for ever."""

    def stop(*_: object) -> None:
        raise Waits

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["info", "pipe.png"], "pipe.png is a pipe"),
        (["info", "pipe.safetensors"], "pipe.safetensors is a pipe"),
        (["upscale", "a.png", "--model", "pipe.pth"], "no model file"),
        (["upscale", "a.png", "--adapter", "pipe.safetensors"], "it is a pipe"),
        (["upscale", "pipe.png", "-o", "pipe.jpg"], "it is a pipe"),
        (["upscale", "--list", "pipe.txt"], "it is a pipe"),
        (["train", "--list", "pipe.txt"], "it is a pipe"),
        (["train", "--data", "pipe.png"], "is a file"),
        (["train", "--data", ".", "--config", "pipe.toml"], "it is a pipe"),
        (["pair", "pipe.png", "a.png"], "it is a pipe"),
        (["pair", "--list", "pipe.txt"], "it is a pipe"),
        (["merge", "--adapter", "pipe.safetensors"], "it is a pipe"),
        (["merge", "--adapter", "pipe.safetensors", "--model", "pipe.pth"], "pipe"),
    ],
)
def test_a_pipe_is_named(words: list[str], text: str, adaptsr: Command) -> None:
    write_rgb(Path("a.png"), noise(16, 16, 3))
    for suffix in ("png", "jpg", "safetensors", "pth", "txt", "toml"):
        os.mkfifo(f"pipe.{suffix}")
    done = adaptsr(*words)
    assert done.code in (1, 2)
    assert text in done.err
    assert "Traceback" not in done.err


def test_what_cannot_be_replaced_is_refused_before_the_work(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "file.pth").touch()
    for force in (False, True):
        with pytest.raises(OutputExistsError, match="is a pipe"):
            refuse_overwriting({"model": tmp_path / "pipe.pth"}, force=force)
        with pytest.raises(OutputExistsError, match="is a folder"):
            refuse_overwriting({"model": tmp_path / "folder.pth"}, force=force)
        with pytest.raises(AdaptsrError, match=r"file.pth is no folder"):
            refuse_overwriting({"model": tmp_path / "file.pth" / "new.pth"}, force=force)
        refuse_overwriting({"model": tmp_path / "new" / "new.pth"}, force=force)
    refuse_overwriting({"model": tmp_path / "file.pth"}, force=True)
    with pytest.raises(OutputExistsError, match="exists already"):
        refuse_overwriting({"model": tmp_path / "file.pth"}, force=False)
