"""Compiled blocks are tried once they could pay, and kept where they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import save_tiny
from torch import Tensor, nn

from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.fast import compiling
from adaptsr_cli.backbones.fast.compiling import CompiledBlocks, can_compile, repeated_blocks
from adaptsr_cli.backbones.loader import load_backbone

CPU = torch.device("cpu")
EAGER_S = 5.0
LR = torch.zeros(1, 3, 4, 4)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Bench:
    """A network of two blocks on a clock that only it moves, with a compiler that does nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, compiled_s: float = 1.0) -> None:
        self.model = nn.Sequential(*(Block() for _ in range(2)))
        self.now = 0.0
        self.compiled_s = compiled_s
        self.fault: Exception | None = None
        self.notes: list[str] = []
        self.ran: list[bool] = []
        monkeypatch.setattr(compiling.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(torch, "compile", self.compile)
        monkeypatch.setattr(compiling, "can_compile", lambda device: True)
        monkeypatch.setattr(compiling, "_MIN_MODULES", 2)
        self.blocks = CompiledBlocks(self.model, CPU, self.notes.append)

    def compile(self, forward: Callable[..., Any], *, dynamic: bool) -> Callable[..., Any]:
        assert not dynamic

        def stand_in(x: Tensor) -> Tensor:
            if self.fault:
                raise self.fault
            return forward(x)

        return stand_in

    def network(self, lr: Tensor) -> Tensor:
        is_compiled = "forward" in vars(self.model[0])
        self.ran.append(is_compiled)
        self.now += self.compiled_s if is_compiled else EAGER_S
        return self.model(lr)

    def run(self, times: int, lr: Tensor = LR) -> list[bool]:
        """Which of all passes of the network were compiled."""
        self.ran.clear()
        for _ in range(times):
            assert torch.equal(self.blocks.run(self.network, lr), self.model(lr))
        return list(self.ran)


def test_what_is_faster_is_tried_after_a_while_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    assert bench.run(5) == [False] * 5  # 25 s; before that compiling could not pay
    assert bench.run(1) == [True, True]  # once to compile, once to be timed
    assert bench.run(3) == [True] * 3
    assert bench.notes == ["compiled 2 blocks in 0 s: 5.00 times as fast, continuing with them"]
    assert "forward" not in vars(bench.model[0])
    # Another size is another matter.
    assert bench.run(5, torch.zeros(1, 3, 8, 4)) == [False] * 5


def test_what_is_slower_is_given_up_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, compiled_s=EAGER_S)
    assert bench.run(7) == [False] * 5 + [True, True, False]
    assert bench.notes == ["compiled 2 blocks in 0 s: 1.00 times as fast, continuing without"]
    assert bench.run(20, torch.zeros(1, 3, 8, 4)) == [False] * 20


def test_a_compiler_that_fails_is_named_and_costs_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.fault = RuntimeError("no such header\nand much more")
    assert bench.run(7) == [False] * 5 + [True, False, False]
    assert bench.notes == ["the network's blocks could not be compiled (no such header): continuing without"]


def test_few_shapes_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    for width in range(4, 4 + compiling._MAX_SHAPES):
        assert any(bench.run(6, torch.zeros(1, 3, 4, width)))
    assert not any(bench.run(20, torch.zeros(1, 3, 4, 99)))


def test_without_a_compiler_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    assert not can_compile(CPU)
    model = nn.Sequential(*(Block() for _ in range(2)))
    notes: list[str] = []
    blocks = CompiledBlocks(model, CPU, notes.append, worth_s=0)
    for _ in range(4):
        blocks.run(model, LR)
    assert notes == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("safmn", "AttBlock"),
        ("swinir", "SwinTransformerBlock"),
        ("hat", "HAB"),
        ("rrdb", "ResidualDenseBlock_5C"),
        ("rcan", "RCAB"),
        ("span", "SPAB"),
    ],
)
def test_the_deepest_repeated_blocks_are_found(name: str, kind: str, tmp_path: Path) -> None:
    model = load_backbone(save_tiny(name, tmp_path / "tiny.safetensors")).model
    assert {type(module).__name__ for module in repeated_blocks(model)} == {kind}


def load(name: str, folder: Path) -> Backbone:
    return load_backbone(save_tiny(name, folder / "tiny.safetensors"))


def test_fused_attention_is_not_compiled_on_the_cpu(tmp_path: Path) -> None:
    backbone = load("swinir", tmp_path)
    notes: list[str] = []
    blocks = CompiledBlocks(backbone.model, CPU, notes.append, worth_s=0)
    with torch.inference_mode():
        for _ in range(4):
            blocks.run(lambda lr: super_resolve(backbone, lr), torch.rand(1, 3, 16, 16))
    assert notes == []


@pytest.mark.skipif(not can_compile(CPU), reason="no C++ compiler")
def test_real_code_gives_the_same(tmp_path: Path) -> None:
    backbone = load("safmn", tmp_path)
    notes: list[str] = []
    blocks = CompiledBlocks(backbone.model, CPU, notes.append, worth_s=0)
    lr = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        expected = super_resolve(backbone, lr)
        for _ in range(4):
            found = blocks.run(lambda lr: super_resolve(backbone, lr), lr)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert len(notes) == 1
    assert notes[0].startswith("compiled 2 blocks"), notes
