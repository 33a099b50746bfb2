"""Half precision: products only; what adds up or divides stays in full precision, and training stays finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import save_tiny
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from adaptsr_cli.adapters.attach import attach
from adaptsr_cli.adapters.sites import find_sites
from adaptsr_cli.backbones.backbone import set_differentiable
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.errors import UsageError
from adaptsr_cli.runtime import pick_precision
from adaptsr_cli.training import objective as objectives
from adaptsr_cli.training.objective import make_objective
from adaptsr_cli.training.optimizer import make_optimizer
from adaptsr_cli.training.step import GradientStep

CPU = torch.device("cpu")
SENSITIVE = ("mean", "sum", "native_layer_norm", "native_group_norm", "_softmax", "_log_softmax", "linalg_vector_norm",
             "abs", "_fft_r2c", "_foreach_addcdiv_", "_foreach_sqrt", "addcdiv_", "sqrt")  # fmt: skip
"""Operations whose results in half precision are wrong by more than a grey level, or not finite."""


class HalfSums(TorchDispatchMode):
    """Notes sensitive operations that read a tensor of half precision.

    Attributes:
        found: Their names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation."""
        name = func._schema.name.partition("::")[2]
        halves = (torch.bfloat16, torch.float16)
        if name in SENSITIVE and any(isinstance(leaf, Tensor) and leaf.dtype in halves for leaf in tree_leaves(args)):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class Training:
    """A short training in bf16 on the CPU."""

    def __init__(self, name: str, folder: Path, objective: str = "fidelity") -> None:
        self.backbone = load_backbone(save_tiny(name, folder / "net.safetensors"))
        plan = [(site, min(2, site.max_rank)) for site in find_sites(self.backbone.model, self.backbone.traits).sites]
        self.attachment = attach(self.backbone.model, plan, alpha=2.0)
        loss = make_objective(objective, weights_dir=Path(), device=CPU, seed=0, iterations=1, scale=4)  # type: ignore[arg-type]
        self.gradients = GradientStep(self.backbone, self.attachment, loss, device=CPU, precision="bf16")
        self.optimizer = make_optimizer("muon", self.attachment.parameter_groups(1), 1e-3, CPU)
        set_differentiable(self.backbone, True)

    def step(self, number: int, px: int = 8) -> Tensor:
        """One step on random images."""
        generator = torch.Generator().manual_seed(number)
        scale = self.backbone.scale
        lr, hr = (torch.rand(2, 3, side, side, generator=generator) for side in (px, px * scale))
        means, _ = self.gradients.run(lr, hr, number)
        means.put_back()
        self.optimizer.step()
        return means.losses["loss"]


@pytest.mark.parametrize("objective", ["fidelity", "charbonnier", "l1+fft"])
def test_losses_add_up_in_full_precision(objective: str, tmp_path: Path) -> None:
    training = Training("edsr_pytorch", tmp_path, objective)
    with HalfSums() as halves:
        loss = training.step(0)
    assert halves.found == []
    assert loss.dtype == torch.float32


def test_three_hundred_steps_stay_finite(tmp_path: Path) -> None:
    training = Training("safmn", tmp_path)
    losses = [float(training.step(number)) for number in range(300)]
    assert all(math.isfinite(loss) for loss in losses)
    assert sum(losses[-20:]) < sum(losses[:20])
    states = [part.state for part in training.optimizer.parts.values()]
    kept = [tensor for state in states for moments in state.values() for tensor in moments.values()]
    kept += [*training.attachment.parameters(), *training.backbone.model.parameters()]
    assert {tensor.dtype for tensor in kept} == {torch.float32}


def test_a_loss_in_half_precision_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    careless = objectives.Term("l1", "L1", 1.0, lambda sr, hr: (sr - hr.to(sr.dtype)).abs().mean())
    training = Training("edsr_pytorch", tmp_path)
    monkeypatch.setattr(training.gradients, "_objective", objectives.PixelObjective("fidelity", (careless,)))
    with HalfSums() as halves:
        training.step(0)
    assert {"abs", "mean"} <= set(halves.found)


def test_fp16_is_not_trained_in() -> None:
    """Its gradients would need a loss scale, and bf16 needs none."""
    with pytest.raises(UsageError, match="not numerically stable in fp16"):
        pick_precision("fp16", CPU, bf16=True, fp16=False)
