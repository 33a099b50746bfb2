"""Bound of the learning rate: up to where the first step changes the picture in proportion to the rate.

Adam's first step moves every parameter by the rate, however small the gradient is, and Muon's every matrix. Beyond some
rate, which depends on the network, the changes of its layers multiply, and the picture changes far more than in
proportion: with low-rank updates and Adam SPAN x4, whose activations lie in [0, 255], by 4.7 times as much at 1e-3 and
by 132 times at 2e-3; SAFMN x4 is in proportion up to 4e-3 (`benchmarks/first_step.py`). A training needs a lower rate
than its first step bears.
"""

from __future__ import annotations

import time
from typing import Final

import torch
from torch import Tensor

from adaptsr_cli.artifacts.train_config import OptimizerName
from adaptsr_cli.backbones.backbone import set_differentiable, super_resolve
from adaptsr_cli.progress import SilentTask, Task
from adaptsr_cli.runtime import exact_products
from adaptsr_cli.training.loop import Trainer
from adaptsr_cli.training.optimizer import make_optimizer

DEPARTURE: Final = 1.5
"""A change so many times that in proportion is too large a step. A smaller one is none: activations saturate."""

_ROOM: Final[dict[OptimizerName, float]] = {"adam": 2.0, "muon": 8.0}
"""How many times its rate the first step must bear, where later steps add up. Adam's first step is about five times as
long as its later ones, Muon's is as long as all."""

_REFERENCE: Final = 2.0**-12
"""A rate that is surely in proportion, as a share of the highest one; its change is still far above rounding."""


class FirstStep:
    """The first step of a training, taken at any rate and back again: the adapters are as before.

    The step is that of the first batch, and is looked at on this one and the next.

    Args:
        trainer: One whose training has not begun.
        task: Counts the rates that are tried; None: nothing is shown.

    Attributes:
        seconds: That the gradients of the step have taken; without those that a GPU still works on.
    """

    def __init__(self, trainer: Trainer, task: Task | None = None) -> None:
        config = trainer.plan.config
        self._task = task or SilentTask()
        self._backbone, self._device = trainer.backbone, trainer.device
        self._parameters = list(trainer.attachment.parameters())
        groups = trainer.attachment.parameter_groups(config.lora_plus)
        self._optimizer = make_optimizer(config.optimizer, groups, config.learning_rate, trainer.device)
        first, second = (trainer.batches.sample(iteration) for iteration in (0, 1))
        set_differentiable(trainer.backbone, True)
        begin = time.perf_counter()
        means, _ = trainer.gradients().run(first.lr.to(trainer.device), first.hr.to(trainer.device), 0)
        self.seconds = time.perf_counter() - begin
        set_differentiable(trainer.backbone, False)
        means.put_back()
        self._start = [parameter.detach().clone() for parameter in self._parameters]
        self._lrs = [batch.lr.to(trainer.device) for batch in (first, second)]
        self._before = self._pictures()

    @property
    def room(self) -> float:
        """How many times the rate of the training this step must bear."""
        return max(_ROOM[name] for name in self._optimizer.parts)

    @torch.no_grad()
    def change(self, rate: float) -> float:
        """Root mean square of the pictures' change by one step at a rate; of values in [0, 1], not clamped."""
        self._optimizer.set_rate(rate)
        self._optimizer.step()
        self._optimizer.forget()
        after = self._pictures()
        for parameter, value in zip(self._parameters, self._start, strict=True):
            parameter.copy_(value)
        self._task.advance()
        return float((after - self._before).square().mean().sqrt())

    @torch.no_grad()
    def _pictures(self) -> Tensor:
        with exact_products(self._device):
            return torch.cat([super_resolve(self._backbone, lr) for lr in self._lrs]).double()


def bound_rate(step: FirstStep, usual: float) -> float:
    """The highest rate to train at: `usual`, its half, its quarter ..., well below the largest that the network bears.

    Args:
        step: Of a training.
        usual: A learning rate.
    """
    return largest_in_proportion(step, step.room * usual) / step.room


def largest_in_proportion(step: FirstStep, highest: float) -> float:
    """The largest of `highest`, its half, its quarter ... at which the first step is in proportion to the rate.

    Takes the time of two or three steps of training.

    Args:
        step: Of a training.
        highest: A learning rate.
    """
    lowest = highest * _REFERENCE
    slope = step.change(lowest) / lowest
    rate = highest
    while rate > lowest and not step.change(rate) <= DEPARTURE * rate * slope:  # that of a NaN is too large too
        rate /= 2
    return rate
