"""How the commands that take images are told which: --data, --hr-dir and --lr-dir, --list, --align."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command, write_pairs

SCORE = ("score", "--batches", 1, "--batch", 2, "--patch", 64)


def test_two_folders_and_a_list_do_what_a_data_set_does(adaptsr: Command, pairs: Path) -> None:
    Path("list.txt").write_text("".join(f"camera/hr/{n:03d}.png\tcamera/lr/{n:03d}.png\n" for n in range(6)))
    ways: tuple[tuple[object, ...], ...] = (
        ("--data", pairs),
        ("--hr-dir", pairs / "hr", "--lr-dir", pairs / "lr"),
        ("--list", "list.txt"),
    )
    sites = []
    for number, way in enumerate(ways):
        outcome = adaptsr(*SCORE, *way, "--run", f"run{number}")
        assert outcome.code == 0, outcome.err
        sites.append(json.loads(Path(f"run{number}/saliency.json").read_text())["sites"])
    assert sites[0] == sites[1] == sites[2]


def test_several_folders_are_mixed_by_their_weights(adaptsr: Command, pairs: Path, tmp_path: Path) -> None:
    others = write_pairs(tmp_path / "others", count=4, side_px=100, seed=100)
    outcome = adaptsr(*SCORE, "--data", pairs, "--data", f"{others}:0.25")
    assert outcome.code == 0, outcome.err
    assert "mix: camera 80 % (5 pairs), others 20 % (3 pairs)" in outcome.err
    scores = adaptsr("eval", "--data", pairs, "--data", others, "--metrics", "psnr", "--json")
    assert scores.code == 0, scores.err
    names = [image["name"] for image in json.loads(scores.out)["images"]]
    assert names == [f"camera/{n:03d}" for n in range(6)] + [f"others/{n:03d}" for n in range(4)]


def test_alignment_is_reported(adaptsr: Command, pairs: Path) -> None:
    outcome = adaptsr(*SCORE, "--data", pairs, "--align", "shift")
    assert outcome.code == 0, outcome.err
    assert "residual shift: median 0.0 px, largest 0.0 px (000); colour gain R 0.85 G 0.85 B 0.85" in outcome.err
    assert "0 of 6 pairs shifted by whole pixels" in outcome.err


@pytest.mark.parametrize("command", ["score", "train", "adapt", "eval"])
@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "no images are named: --data is missing"),
        (["--hr-dir", "camera/hr"], "--hr-dir without --lr-dir"),
        (["--lr-dir", "camera/lr"], "--lr-dir without --hr-dir"),
        (["--data", "camera", "--list", "x.txt"], "--data together with --list"),
        (["--data", "camera", "--data", "camera:0.5"], "names camera twice"),
        (["--data", "camera:0"], "the weight '0' of --data camera is not a weight"),
        (["--data", "camera", "--align", "rotate"], "'rotate' is not one of 'none', 'shift'"),
    ],
)
def test_contradictions_are_usage_errors(
    adaptsr: Command, pairs: Path, command: str, words: list[str], text: str
) -> None:
    outcome = adaptsr(command, *words)
    assert outcome.code == 2, outcome.err
    assert text in outcome.err.replace("\n", " ")
    assert not Path("adaptsr-run").exists()


def test_a_wrong_line_of_a_list_is_named(adaptsr: Command, pairs: Path) -> None:
    Path("list.txt").write_text("camera/hr/000.png, camera/lr/000.png\ncamera/hr/9.png, camera/lr/000.png\n")
    outcome = adaptsr("score", "--list", "list.txt")
    assert outcome.code == 1
    assert "list.txt, line 2: there is no file" in outcome.err


@pytest.mark.parametrize(
    ("degrade", "fault"),
    [
        ("nonsense", "--degrade 'nonsense' is not a known degradation"),
        ("auto:nowhere", "--degrade auto:nowhere: no photos there"),
        ("camera/list.json", "cannot read camera/list.json"),
    ],
)
@pytest.mark.parametrize(
    "words",
    [
        ("train", "--data", "camera"),
        ("eval", "--data", "camera"),
        ("eval", "--data", "camera/hr", "--protocol", "no-reference"),
    ],
)
def test_a_degradation_that_is_not_used_is_checked_all_the_same(
    adaptsr: Command, pairs: Path, words: tuple[str, ...], degrade: str, fault: str
) -> None:
    refused = adaptsr(*words, "--degrade", degrade)
    assert refused.code != 0
    assert f"error: {fault}" in refused.err
    assert not Path("adaptsr-run/training/config.toml").exists()
