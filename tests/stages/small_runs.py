"""Trainings of a few steps on a tiny network, and what the tests of merge and truncate do with them."""

from __future__ import annotations

from pathlib import Path

import torch
from conftest import Command, write_pairs
from networks import save_tiny

from adaptsr_cli.backbones.loader import load_backbone

QUICK = ("--iterations", 3, "--batch", 1, "--patch", 32, "--model", "m.safetensors")


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return dict(load_backbone(path).model.state_dict())


def write_camera(folder: Path) -> Path:
    """The network ``m.safetensors`` in the current folder, and pairs in `folder`."""
    save_tiny("safmn", Path("m.safetensors"))
    return write_pairs(folder, count=5, side_px=64)


def train(adaptsr: Command, pairs: Path, run: str, *more: object, lr: float = 0.01) -> Path:
    done = adaptsr("train", "--data", pairs, "--run", run, "--lr", lr, "--method", "lora", *QUICK, *more)
    assert done.code == 0, done.err
    return Path(run) / "adapter.safetensors"


def merge(adaptsr: Command, name: str, *words: object) -> dict[str, torch.Tensor]:
    done = adaptsr("merge", "--run", "one", *words, "-o", f"{name}.safetensors")
    assert done.code == 0, done.err
    return weights_of(Path(f"{name}.safetensors"))
