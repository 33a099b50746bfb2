"""Options of low-rank methods from the command line to the adapter file."""

from __future__ import annotations

from pathlib import Path

import torch
from conftest import Command

from adaptsr_cli.io.documents import read_toml
from adaptsr_cli.stages.adapter_file import read_adapter
from adaptsr_cli.stages.train_request import TrainRequest
from adaptsr_cli.training.state import read_state

RUN = Path("adaptsr-run")
WORDS = ("--iterations", 2, "--batch", 2, "--patch", 64)


def test_scale_and_lora_plus_are_kept_and_merged(adaptsr: Command, pairs: Path) -> None:
    train = adaptsr("train", "--data", pairs, *WORDS, "--scale", "alpha/sqrt(r)", "--lora-plus", 8)
    assert train.code == 0, train.err
    assert read_adapter(RUN / "adapter.safetensors")[0].scale == "alpha/sqrt(r)"
    request = read_toml(RUN / "training" / "config.toml", TrainRequest)
    assert (request.scale, request.lora_plus) == ("alpha/sqrt(r)", 8.0)
    assert "alpha/sqrt(r) with alpha 8" in adaptsr("info", RUN / "adapter.safetensors").out
    assert adaptsr("merge").code == 0


def test_gradient_start(adaptsr: Command, pairs: Path) -> None:
    """At iteration 0 the A factors are orthonormal, and still the network is the backbone."""
    words = ("train", "--data", pairs, "--batch", 2, "--patch", 64, "--init", "gradient")
    train = adaptsr(*words, "--iterations", 1, "--lr", 1e-8)
    assert train.code == 0, train.err
    _, state = read_state(RUN / "training" / "state.safetensors")
    rows = [tensor.flatten(1) for name, tensor in state.items() if name.startswith("adapter/") and "lora_A" in name]
    assert rows
    for row in rows:
        torch.testing.assert_close(row @ row.t(), torch.eye(len(row)), atol=1e-4, rtol=0)
    assert "directions" in adaptsr("info", RUN / "saliency.safetensors").out
    other = adaptsr(*words, "--iterations", 1, "--lr", 1e-8, "--method", "arc", "--force")
    assert other.code == 2
    assert "lora and dora" in other.err
    (RUN / "saliency.safetensors").unlink()
    gone = adaptsr(*words, "--iterations", 1, "--force")
    assert gone.code == 1
    assert "adaptsr score" in gone.err


def test_options_that_make_no_sense_are_refused(adaptsr: Command, pairs: Path) -> None:
    unknown = adaptsr("train", "--data", pairs, *WORDS, "--scale", "alpha")
    assert unknown.code == 2
    assert "alpha/r" in unknown.err
    nothing = adaptsr("train", "--data", pairs, *WORDS, "--method", "bitfit", "--lora-plus", 8)
    assert nothing.code == 2
    assert "low-rank factors" in nothing.err
