"""Files and folders whose names are no UTF-8, as old archives leave them on Linux."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.conftest import Command, write_pairs

LATIN = os.fsdecode(b"caf\xe9")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")


@pytest.fixture
def latin_pairs(tmp_path: Path) -> Path:
    """Six pairs with such names, in a folder of such a name."""
    folder = write_pairs(tmp_path / LATIN, count=6)
    for side in ("hr", "lr"):
        for path in sorted((folder / side).iterdir()):
            path.rename(path.with_name(f"{LATIN}{path.name}"))
    return folder


def test_the_whole_job_takes_them(adaptsr: Command, latin_pairs: Path) -> None:
    run = Path(f"run-{LATIN}")
    options = ("--data", latin_pairs, "--run", run, "--batch", 1, "--patch", 32, "--metrics", "psnr")
    done = adaptsr("adapt", *options, "--iterations", 1, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["data"].endswith(r"caf\xe9")
    assert all(image["name"].startswith(r"caf\xe900") for image in found["images"])
    assert r"caf\xe9" in (run / "report.html").read_text(encoding="utf-8")
    assert adaptsr("train", "--iterations", 1, *options[:8]).code == 0  # finished already: its state is read again
    table = Path(f"{LATIN}.csv")
    others = ("--model", run / "merged.safetensors", "--sr", f"{LATIN}={latin_pairs / 'hr'}", "--csv", table)
    assert adaptsr("eval", *options[:2], "--metrics", "psnr", "--run", "other", *others).code == 0
    assert r"caf\xe9" in table.read_text(encoding="utf-8")


def test_results_of_upscale_are_told_as_text(adaptsr: Command, latin_pairs: Path) -> None:
    done = adaptsr("upscale", latin_pairs / "lr", "--output", "out", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["written"][0]["input"].endswith(r"caf\xe9000.png")
    assert len(list(Path("out").iterdir())) == 6


@pytest.mark.parametrize("command", ["eval", "upscale"])
def test_lists_name_them_byte_by_byte(adaptsr: Command, latin_pairs: Path, command: str) -> None:
    names = [os.fsencode(latin_pairs / side / f"{LATIN}000.png") for side in ("hr", "lr")]
    Path("list.txt").write_bytes((b",".join(names) if command == "eval" else names[1]) + b"\n")
    done = adaptsr(command, "--list", "list.txt", *(("--metrics", "psnr") if command == "eval" else ()))
    assert done.code == 0, done.err
