"""The optimiser of a run, and its learning rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from adaptsr_cli.artifacts.train_config import OptimizerName
from adaptsr_cli.training.muon import Muon

Group = dict[str, Any]


class JointOptimizer:
    """Optimisers of different parameters as one: Adam alone, or Muon for matrices and Adam for what is none.

    Args:
        parts: By name, each of other parameters.
    """

    def __init__(self, parts: dict[OptimizerName, torch.optim.Optimizer]) -> None:
        self.parts = parts

    def step(self) -> None:
        """Take a step by the parameters' gradients."""
        for part in self.parts.values():
            part.step()

    def set_rate(self, lr: float) -> None:
        """Set the learning rate, times its ratio in every group."""
        for group in (group for part in self.parts.values() for group in part.param_groups):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr * group["ratio"])
            else:
                group["lr"] = lr * group["ratio"]

    def forget(self) -> None:
        """Forget all steps."""
        for part in self.parts.values():
            part.state.clear()


def make_optimizer(name: OptimizerName, groups: list[Group], lr: float, device: torch.device) -> JointOptimizer:
    """Make the optimiser of adapters.

    On CUDA the rates lie on the device, so that a recorded step reads the present one.

    Args:
        name: As in ``--optimizer``.
        groups: Parameters as an optimiser takes them, each with the factor of its learning rate as ``ratio``.
        lr: At first.
        device: Where the parameters are.
    """
    if device.type == "cuda":
        groups = [{**group, "lr": torch.tensor(lr * group["ratio"], device=device)} for group in groups]
    matrices = _choose(groups, matrices=True) if name == "muon" else []
    others = _choose(groups, matrices=False) if name == "muon" else groups
    parts: dict[OptimizerName, torch.optim.Optimizer] = {}
    if matrices:
        parts["muon"] = Muon(matrices, lr)
    if others:
        parts["adam"] = _make_adam(others, lr, device)
    return JointOptimizer(parts)


def _choose(groups: list[Group], *, matrices: bool) -> list[Group]:
    """The groups with the parameters that are matrices or kernels, or with the others; empty ones left out."""
    chosen = [
        {**group, "params": [parameter for parameter in group["params"] if (parameter.ndim > 1) == matrices]}
        for group in groups
    ]
    return [group for group in chosen if group["params"]]


def _make_adam(groups: list[Group], lr: float, device: torch.device) -> torch.optim.Adam:
    """Adam; on CUDA in one kernel."""
    if device.type != "cuda":
        return torch.optim.Adam(groups, lr=lr)
    optimizer = torch.optim.Adam(groups, lr=lr, fused=True, capturable=True)
    # torch warns where a capturable optimiser takes a step outside of a graph, as ours does before one is recorded.
    vars(optimizer)["_warned_capturable_if_run_uncaptured"] = True
    return optimizer
