"""Closed, full and broken standard streams end no work and lose no result."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import cast

import pytest

from adaptsr_cli.cli.console import Console
from adaptsr_cli.cli.streams import GuardedStream, Streams
from tests.conftest import write_pairs

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")


class Full(StringIO):
    """A stream on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


class Unread(StringIO):
    """A pipe whose reader has gone away."""

    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_fault_is_kept_and_ends_nothing() -> None:
    streams = Streams(GuardedStream(Full()), GuardedStream(StringIO()))
    console = Console(out=cast(StringIO, streams.out), err=cast(StringIO, streams.err))
    console.line("result")
    console.table("t", ("a",), [("1",)])
    console.note("remark")
    lost = streams.lost_results()
    assert lost is not None
    assert lost.message == "cannot write to the standard output: No space left on device"
    assert streams.err.getvalue() == "remark\n"
    unread = Streams(GuardedStream(Unread()), GuardedStream(StringIO()))
    assert unread.are_unread()
    assert unread.lost_results() is None
    assert Streams(GuardedStream(StringIO()), GuardedStream(Full())).lost_results() is None


def run(words: str, shell: str, **environment: str) -> tuple[int, str]:
    """Run the command with redirections of the shell; exit code, and what came to the streams that are left."""
    command = f"{sys.executable} -m adaptsr_cli {words} {shell}"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout + done.stderr


# What is shown, and the exit code that tells whether it could be.
@pytest.mark.parametrize(
    ("words", "shell", "code"),
    [
        ("--version", ">&-", 0),
        ("--help", ">&- 2>&- <&-", 0),
        ("models --json", "2>&-", 0),
        ("models --json", "2>/dev/full", 0),
        pytest.param("--version", ">/dev/full", 1, marks=needs_full),
        pytest.param("models", ">/dev/full 2>/dev/full", 1, marks=needs_full),
        ("models", "| true", 141),
        ("eval --nonsense", "2>&-", 2),
    ],
)
def test_streams_of_a_shell(words: str, shell: str, code: int) -> None:
    found, told = run(words, shell)
    assert "unexpected" not in told
    assert "Traceback" not in told
    assert "Exception ignored" not in told
    assert found == code


@pytest.mark.parametrize("words", ["models", "models --json", "--help"])
def test_a_reader_that_has_enough_is_told_nothing(words: str) -> None:
    assert run(words, "| true") == (141, "")


@needs_full
@pytest.mark.parametrize(("shell", "code"), [(">&- 2>&- <&-", 0), ("2>/dev/full | true", 141)])
def test_no_result_is_lost(tmp_path: Path, shell: str, code: int) -> None:
    pairs = write_pairs(tmp_path / "camera", count=2)
    words = f"eval --data {pairs} --model safmn-x4-bicubic --metrics psnr --run {tmp_path / 'run'}"
    found, told = run(words, shell, LC_ALL="POSIX", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert found == code
    assert "unexpected" not in told
    assert (tmp_path / "run" / "eval.json").exists()
    assert (tmp_path / "run" / "report.html").exists()
