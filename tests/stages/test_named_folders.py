"""A folder that is named and cannot be what it is named for is told before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
from networks import save_tiny

from adaptsr_cli.cli.commands import COMMANDS
from adaptsr_cli.cli.signature import value_flags
from adaptsr_cli.io.images import write_rgb
from tests.conftest import Command, noise, write_pairs

REQUIRED = {"export": ("--to", "onnx"), "pair": ("lr", "hr"), "truncate": ("--to-rank", 2)}


def commands_with(option: str) -> list[str]:
    """The commands that have this option."""
    return [name for name, entry in COMMANDS.items() if option in value_flags(entry.make())]


FOLDERS = [(name, option) for option in ("--run", "--weights-dir") for name in commands_with(option)]


@pytest.mark.parametrize(("command", "option"), [*FOLDERS, ("pair", "--output")])
@pytest.mark.parametrize(
    ("place", "fault"),
    [("in.png", "is no folder"), ("in.png/x/y", "is no place for a folder: it leads through a file")],
)
def test_a_file_is_no_folder(
    adaptsr: Command, tmp_path: Path, command: str, option: str, place: str, fault: str
) -> None:
    (tmp_path / "in.png").write_text("a file")
    done = adaptsr(command, *REQUIRED.get(command, ()), option, place)
    assert done.code == 2
    assert done.err.splitlines()[0] == f"error: {option} {place} {fault}"
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]
    assert (tmp_path / "in.png").read_text() == "a file"


@pytest.mark.parametrize("there", [False, True])
def test_upscale_warns_where_it_takes_another_network_for_a_run_that_is_not_there(
    adaptsr: Command, tmp_path: Path, there: bool
) -> None:
    write_rgb(tmp_path / "in.png", noise(9, 8, 3))
    if there:
        (tmp_path / "mine").mkdir()
    said = "warning: there is no run in mine: using the embedded network"
    model = save_tiny("span_x2", tmp_path / "model.safetensors")
    for words, is_told in (((), False), (("--run", "mine"), True), (("--run", "mine", "--model", model), False)):
        done = adaptsr("upscale", "in.png", "--force", *words)
        assert done.code == 0
        assert (said in done.err) == is_told


def test_eval_sees_before_it_scores_that_its_scores_have_no_place(adaptsr: Command, tmp_path: Path) -> None:
    write_pairs(tmp_path / "camera", count=1)
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    done = adaptsr("eval", "--data", "camera", "--metrics", "psnr", "--run", "run")
    assert done.code == 1
    assert "report.html is a folder (report)" in done.err
    assert "image in" not in done.err  # as the end of scoring is told


@pytest.mark.parametrize("command", ["score", "train", "adapt", "eval"])
def test_the_folder_of_the_images_is_no_run_folder(adaptsr: Command, tmp_path: Path, command: str) -> None:
    write_rgb(tmp_path / "photo.png", noise(48, 48, 3))
    done = adaptsr(command, "--data", tmp_path, "--run", ".")
    assert done.code == 2
    assert "error: --run . is the folder of the images" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_eval_of_a_part_needs_a_run_that_has_parts(adaptsr: Command, tmp_path: Path) -> None:
    write_pairs(tmp_path / "camera", count=1)
    done = adaptsr("eval", "--data", "camera", "--metrics", "psnr", "--run", "nowhere", "--split", "held-out")
    assert done.code == 2
    assert "error: --split held-out: nowhere has no training that has held images out" in done.err
    assert not (tmp_path / "nowhere").exists()
