"""The memory of a step: told from shapes what a real step takes, and what is done where it does not fit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from networks import save_tiny

from adaptsr_cli.adapters.attach import attach
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.fast.pieces import pieces_to_compute
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.training.memory import StepShape, step_memory_bytes
from adaptsr_cli.training.objective import make_objective

# Measures one step in a process of its own, in which what is freed goes back to the system.
REAL = """
import ctypes, gc, json, sys
from pathlib import Path
import torch
from adaptsr_cli.adapters.attach import attach
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import set_differentiable
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.training.memory import StepShape, step_memory_bytes
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.step import GradientStep

CPU = torch.device("cpu")
file, batch, patch_px, twice = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "twice"
backbone = load_backbone(Path(file))
plan = [(site, min(4, site.max_rank)) for site in find_sites(backbone.model, backbone.traits).sites]
attachment = attach(backbone.model, plan, alpha=4.0)
objective = make_objective("fidelity", weights_dir=Path(), device=CPU, seed=0, iterations=1, scale=4)
blocks = tuple(dict.fromkeys(site.block for site, _ in plan if site.block)) if twice else ()
shape = StepShape(batch, patch_px, "fp32", checkpointed=blocks)
told = step_memory_bytes(backbone, attachment, objective, shape)
set_differentiable(backbone, True)
step = GradientStep(backbone, attachment, objective, device=CPU, precision="fp32", checkpointed=blocks)


def run(batch, patch_px):
    lr = torch.rand(batch, 3, patch_px // backbone.scale, patch_px // backbone.scale)
    hr = torch.rand(batch, 3, patch_px, patch_px)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    step.run(lr, hr, 0)
    return status("VmHWM") - before


def status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


run(1, 64)
print(json.dumps([told, run(batch, patch_px)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.parametrize("words", [(12, 192, "once"), (16, 192, "twice")])
def test_what_is_told_is_what_a_step_takes(words: tuple[object, ...], shared: Path) -> None:
    """The embedded network, with blocks kept and computed twice."""
    file = shared / "weights/own/safmn_x4_bicubic.safetensors"
    root = Path(__file__).resolve().parents[2]
    settings = {"MALLOC_MMAP_THRESHOLD_": "4096", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", REAL, str(file), *map(str, words)],
        env=os.environ | settings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told, real = json.loads(done.stdout)
    assert told == pytest.approx(real, rel=0.15)


def memory(backbone: Backbone, shape: StepShape) -> int:
    plan = [(site, min(2, site.max_rank)) for site in find_sites(backbone.model, backbone.traits).sites]
    attachment = attach(backbone.model, plan, alpha=2.0)
    objective = make_objective(
        "fidelity", weights_dir=Path(), device=torch.device("cpu"), seed=0, iterations=1, scale=4
    )
    return step_memory_bytes(backbone, attachment, objective, shape)


@pytest.mark.parametrize("name", ["edsr_pytorch", "safmn", "swinir", "hat", "dat", "span", "rcan"])
def test_it_grows_with_the_batch_and_changes_nothing(name: str, tmp_path: Path) -> None:
    backbone = load_backbone(save_tiny(name, tmp_path / "net.safetensors"))
    before = {key: tensor.clone() for key, tensor in backbone.model.state_dict().items()}
    random = torch.get_rng_state()
    one = memory(backbone, StepShape(2, 64, "fp32"))
    fresh = load_backbone(tmp_path / "net.safetensors")
    two = memory(fresh, StepShape(4, 64, "fp32"))
    assert 1.6 * one < two < 2.2 * one
    assert torch.equal(random, torch.get_rng_state())
    after = {key.replace("parametrizations.", "").replace(".original", ""): tensor
             for key, tensor in backbone.model.state_dict().items()}  # fmt: skip
    assert all(torch.equal(tensor, after[key]) for key, tensor in before.items())


def test_a_step_that_would_not_fit_is_told_and_computes_blocks_twice(
    adaptsr: Command, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_tiny("safmn", Path("net.safetensors"))
    words = ("train", "--data", pairs, "--model", model, "--iterations", 2, "--batch", 4, "--patch", 64, "--lr", "1e-3")
    place = "adaptsr_cli.stages.train.fit_memory.free_memory_bytes"
    monkeypatch.setattr(place, lambda device: 1 << 21)
    tight = adaptsr(*words, "--run", "tight")
    assert tight.code == 0, tight.err
    assert "a training step takes about" in tight.err
    assert "every block is computed twice" in tight.err
    asked = adaptsr(*words, "--run", "asked", "--no-checkpointing")
    assert asked.code == 0
    assert "computed twice" not in asked.err
    assert "a training step may not fit" in asked.err
    assert "try --accumulate " in asked.err
    monkeypatch.setattr(place, lambda device: 1 << 40)
    roomy = adaptsr(*words, "--run", "roomy")
    assert "a training step" not in roomy.err
    assert Path("tight/adapter.safetensors").exists()


@pytest.mark.parametrize(("name", "module"), [("dat", "attention_products"), ("swinir", "window_products")])
def test_one_piece_of_attention_tells_the_memory_of_all(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"adaptsr_cli.backbones.fast.{module}"
    monkeypatch.setattr(f"{place}._PIECE_BYTES", 1 << 17)
    computed: list[int] = []

    def told(choose: Callable[..., Iterable[Any]]) -> int:
        def count(pieces: Iterable[Any], like: torch.Tensor) -> list[Any]:
            chosen = list(choose(pieces, like))
            computed.append(len(chosen))
            return chosen

        monkeypatch.setattr(f"{place}.pieces_to_compute", count)
        return memory(load_backbone(save_tiny(name, tmp_path / "net.safetensors")), StepShape(3, 64, "fp32"))

    of_all = told(lambda pieces, like: pieces)
    assert max(computed) > 1
    computed.clear()
    assert told(pieces_to_compute) == of_all
    assert set(computed) == {1}
