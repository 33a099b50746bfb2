"""A run folder with a small trained network, to export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import Command
from networks import save_tiny

from adaptsr_cli.stages.common.adapter_file import read_adapter, write_adapter

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(adaptsr: Command, pairs: Path) -> MakeRun:
    """Makes a run folder of a tiny network with an adapter whose values are random, so that it changes something."""

    def make(network: str, *words: object, noise: float = 0.005) -> Path:
        run, model = Path(f"of_{network}"), save_tiny(network, Path(f"{network}.safetensors"))
        train = adaptsr("train", "--data", pairs, "--model", model, "--run", run, "--iterations", 1, "--batch", 1,
                        "--patch", 64, "--lr", "1e-3", "--precision", "fp32", *words)  # fmt: skip
        assert train.code == 0, train.err
        header, tensors = read_adapter(run / "adapter.safetensors")
        generator = torch.Generator().manual_seed(1)
        moved = {
            name: tensor + noise * torch.randn(tensor.shape, generator=generator) for name, tensor in tensors.items()
        }
        write_adapter(run / "adapter.safetensors", header, moved)
        return run

    return make
