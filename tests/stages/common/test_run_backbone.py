"""Which network a run folder is of."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import Command
from networks import save_tiny

QUICK = ("--iterations", 1, "--batch", 1, "--patch", 32, "--lr", 1e-3)


def source(run: str) -> str:
    """The file name of the network that a run is of."""
    name: str = json.loads(Path(run, "run.json").read_text(encoding="utf-8"))["backbone"]["source"]
    return name


def test_a_run_in_which_nothing_was_made_takes_another_network(adaptsr: Command, pairs: Path) -> None:
    """The first command forgot ``--model`` and was refused: the next one is not held to the embedded network."""
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
