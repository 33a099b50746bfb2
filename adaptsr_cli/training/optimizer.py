"""Adam as every run uses it, and its learning rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def make_adam(groups: list[dict[str, Any]], lr: float, device: torch.device) -> torch.optim.Adam:
    """Adam; on CUDA in one kernel, with rates that lie on the device, so that a recorded step reads the present one.

    Args:
        groups: Parameters as an optimiser takes them, each with the factor of its learning rate as ``ratio``.
        lr: At first.
        device: Where the parameters are.
    """
    if device.type != "cuda":
        return torch.optim.Adam(groups, lr=lr)
    groups = [{**group, "lr": torch.tensor(lr * group["ratio"], device=device)} for group in groups]
    optimizer = torch.optim.Adam(groups, lr=lr, fused=True, capturable=True)
    # torch warns where a capturable optimiser takes a step outside of a graph, as ours does before one is recorded.
    vars(optimizer)["_warned_capturable_if_run_uncaptured"] = True
    return optimizer


def set_rate(optimizer: torch.optim.Adam, lr: float) -> None:
    """Set the learning rate, times its ratio in every group."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr * group["ratio"])
        else:
            group["lr"] = lr * group["ratio"]
