"""The command `adaptsr upscale`: paths from the standard input, and several processes."""

from __future__ import annotations

import json
import re
import sys
from io import StringIO
from pathlib import Path

import pytest
from conftest import Command, noise
from networks import save_tiny
from processes import start_group

from adaptsr_cli.io.images import write_rgb


def test_paths_come_from_the_standard_input(adaptsr: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny("span_x2", Path("m.safetensors"))
    write_rgb(Path("in/ä b.png"), noise(9, 8, 3))
    monkeypatch.setattr(sys, "stdin", StringIO("in/ä b.png\nmissing.png\n"))
    done = adaptsr("upscale", "--list", "-", "-o", "out", "--model", "m.safetensors", "--ensemble", "--json")
    assert done.code == 1, done.err
    report = json.loads(done.out)
    assert [item["output"] for item in report["written"]] == [str(Path("out/in/ä b_x2.png"))]
    assert [item["input"] for item in report["failed"]] == ["missing.png"]
    assert done.err.count("warning: ") == 1


def test_results_that_are_there_already_have_no_pace(adaptsr: Command) -> None:
    save_tiny("span_x2", Path("m.safetensors"))
    for index in range(2):
        write_rgb(Path(f"in/{index}.png"), noise(9, 8, 3))
    words = ("upscale", "in", "-o", "out", "--model", "m.safetensors", "--device", "cpu")
    assert re.search(r"2/2 image in [\d.]+ s, [\d.]+ (image/s|s/image)", adaptsr(*words).err)
    assert re.search(r"2/2 image in [\d.]+ s$", adaptsr(*words).err, re.MULTILINE)


def test_a_group_shares_the_files_and_one_process_reports(tmp_path: Path) -> None:
    """Under torchrun, a process with a failed file must not end before the others are done."""
    model = save_tiny("span_x2", tmp_path / "model.safetensors")
    for index in range(5):
        write_rgb(tmp_path / "in" / f"{index}.png", noise(20, 20, 3, seed=index))
    (tmp_path / "in" / "0.png").write_bytes(b"")
    words = ("upscale", tmp_path / "in", "-o", tmp_path / "out", "--model", model, "--device", "cpu")
    processes = start_group((*words, "--run", tmp_path / "run"), tmp_path)
    (code, out, err), (other_code, other_out, _) = (process.finish() for process in processes)
    assert (code, other_code) == (1, 1)
    assert "4 ok, 1 failed, 0 skipped" in out
    assert "0.png" in err
    assert other_out == ""
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 4
