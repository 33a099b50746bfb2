"""Which network a run folder is of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Command, write_pairs
from networks import save_tiny

QUICK = ("--iterations", 1, "--batch", 1, "--patch", 32, "--lr", 1e-3)


def source(run: str) -> str:
    """The file name of the network that a run is of."""
    name: str = json.loads(Path(run, "run.json").read_text(encoding="utf-8"))["backbone"]["source"]
    return name


def test_a_run_in_which_nothing_was_made_takes_another_network(adaptsr: Command, pairs: Path) -> None:
    """The first command forgot ``--model`` and was refused: the next one is not held to the embedded network.

    The folder is the user's, so it is kept with the record of the network.
    """
    Path("r").mkdir()
    for name in ("safmn_x2", "edsr_basicsr"):
        save_tiny(name, Path(f"{name}.safetensors"))
    refused = adaptsr("train", "--data", pairs, "--run", "r", *QUICK, "--precision", "fp16")
    assert (refused.code, source("r")) == (2, "safmn_x4_bicubic.safetensors")
    again = adaptsr(
        "train", "--data", pairs, "--run", "r", *QUICK, "--model", "safmn_x2.safetensors", "--device", "cuda:9"
    )
    assert (again.code, source("r")) == (2, "safmn_x2.safetensors")
    unnamed = adaptsr("train", "--data", pairs, "--run", "r", *QUICK, "--device", "cuda:9")
    assert (unnamed.code, source("r")) == (2, "safmn_x2.safetensors")
    trained = adaptsr("train", "--data", pairs, "--run", "r", *QUICK, "--model", "edsr_basicsr.safetensors")
    assert (trained.code, source("r")) == (0, "edsr_basicsr.safetensors"), trained.err


def test_a_run_with_scores_keeps_to_its_network(adaptsr: Command, pairs: Path) -> None:
    for name in ("safmn", "edsr_basicsr"):
        save_tiny(name, Path(f"{name}.safetensors"))
    words = ("score", "--data", pairs, "--run", "r", "--batches", 1, "--patch", 32, "--force", "--model")
    assert adaptsr(*words, "safmn.safetensors").code == 0
    refused = adaptsr(*words, "edsr_basicsr.safetensors")
    assert refused.code == 1
    assert "r/run.json was made for safmn.safetensors (SAFMN x4" in refused.err
    assert "give the --model it was made for, or another --run" in refused.err
    assert source("r") == "safmn.safetensors"


def test_a_backbone_that_was_moved_is_found_again(adaptsr: Command, pairs: Path) -> None:
    """By the record, where a command says how, or by ``--model``, once."""
    save_tiny("safmn", Path("here.safetensors"))
    save_tiny("edsr_basicsr", Path("other.safetensors"))
    words = ("score", "--data", pairs, "--run", "r", "--batches", 1, "--patch", 32, "--force")
    assert adaptsr(*words, "--model", "here.safetensors").code == 0
    Path("here.safetensors").rename("there.safetensors")
    score = ("eval", "--run", "r", "--data", pairs, "--metrics", "psnr")
    lost = adaptsr(*score)
    assert lost.code == 1
    assert "here.safetensors is no longer there" in lost.err
    assert 'write where it is now as "model_path" into r/run.json' in lost.err
    assert adaptsr(*words, "--model", "other.safetensors").code == 1

    assert adaptsr(*words, "--model", "there.safetensors").code == 0
    found = adaptsr(*score)
    assert found.code == 0, found.err
    record = json.loads(Path("r/run.json").read_text(encoding="utf-8"))
    assert record["model_path"] == str(Path("there.safetensors").resolve())

    Path("there.safetensors").rename("again.safetensors")
    Path("r/run.json").write_text(json.dumps({**record, "model_path": str(Path("again.safetensors").resolve())}))
    assert adaptsr(*score).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("score", "--data", "nowhere"),
        ("train", "--data", "pairs", "--rank-map", "nowhere.json"),
        ("adapt", "--data", "pairs", "--patch", 4000),
        ("adapt", "--data", "pairs", "--folds", 30),
        ("allocate",),
    ],
)
def test_a_first_command_that_is_refused_leaves_nothing(
    adaptsr: Command, tmp_path: Path, words: tuple[str | int, ...]
) -> None:
    write_pairs(tmp_path / "pairs", count=5, side_px=64)
    assert adaptsr(*words, "--run", "new").code in (1, 2)
    assert not Path("new").exists()
    Path("mine").mkdir()
    assert adaptsr(*words, "--run", "mine").code in (1, 2)
    assert Path("mine").is_dir()  # it was there before
