"""Muon: momentum whose every matrix is made orthogonal before it is a step (Jordan et al. 2024).

Own code, since `torch.optim.Muon` takes no kernels of convolutions, and takes one matrix at a time.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import torch
from torch import Tensor

MOMENTUM: Final = "momentum"
"""Name of the state of a parameter."""

_DECAY: Final = 0.8
_STEP_RMS: Final = 0.8
"""Root mean square of a step, as a share of the rate. Adam's is about 0.2; with four times that the preset's rates,
which are good for Adam, are good here: steps half as long gained less (`benchmarks/auto_rate.py`)."""

_ITERATIONS: Final = 5
_COEFFICIENTS: Final = (3.4445, -4.7750, 2.0315)  # Jordan's, by which all singular values come to about 1
_TINY: Final = 1e-12


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonal by matrix; kernels count as matrices of (out, in * height * width).

    All singular directions of a step are equally long, so that the weak ones, which Adam leaves to the end, are learnt
    from the first step on.

    Args:
        groups: Parameters of two or more dimensions, as an optimiser takes them.
        lr: At first; a number, or a scalar tensor on the device.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float | Tensor) -> None:
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step; parameters without a gradient stay."""
        for group in self.param_groups:
            alike: defaultdict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if MOMENTUM not in state:
                    state[MOMENTUM] = torch.zeros_like(parameter)
                momentum = state[MOMENTUM].mul_(_DECAY).add_(parameter.grad)
                ahead = parameter.grad.add(momentum, alpha=_DECAY).flatten(1)
                alike[ahead.shape].append((parameter, ahead))
            for shape, found in alike.items():
                steps = orthogonalise(torch.stack([ahead for _, ahead in found]))
                steps = steps * (group["lr"] * (_STEP_RMS * max(shape) ** 0.5))
                for (parameter, _), step in zip(found, steps.unbind(), strict=True):
                    parameter.sub_(step.view_as(parameter))


def orthogonalise(matrices: Tensor) -> Tensor:
    """About U V^T of the singular value decomposition U S V^T, by an odd polynomial applied again and again.

    Singular values of the result lie in about [0.7, 1.2]; a matrix of zeros stays one.

    Args:
        matrices: (N, R, C) float32.

    Returns:
        The same shape.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if is_tall else matrices
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + _TINY)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if is_tall else x
