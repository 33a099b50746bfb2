"""Bound of the learning rate: up to where one step of Adam changes the picture in proportion to the rate.

Adam's first step moves every parameter by the rate, however small the gradient is. Beyond some rate, which depends on
the network, the changes of its layers multiply, and the picture changes far more than in proportion: SPAN, whose
activations lie in [0, 255], by 7 times as much at 1e-3 and by 150 times at 2e-3, where SAFMN x4 is in proportion up to
1.6e-2. Trainings at half of the largest rate in proportion were the best of those tried: low-rank updates of SPAN x4 on
the iPhone pairs at 2.5e-4 (+0.38 dB on validation images after 60 steps; 1.25e-4 +0.35 dB, 5e-4 had to be lowered), of
SAFMN x2 on the NTIRE pairs at 5e-4.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from adaptsr_cli.backbones.backbone import set_differentiable, super_resolve
from adaptsr_cli.runtime import exact_products
from adaptsr_cli.training.loop import Trainer
from adaptsr_cli.training.optimizer import make_adam, set_rate

DEPARTURE: Final = 1.5
"""A change so many times that in proportion is too large a step. A smaller one is none: activations saturate."""

_REFERENCE: Final = 2.0**-12
"""A rate that is surely in proportion, as a share of the highest one; its change is still far above rounding."""


def bound_rate(trainer: Trainer, highest: float) -> float:
    """The largest of `highest`, its half, its quarter ... at which the first step is in proportion to the rate.

    The step is that of the first batch and is looked at on this one and the next. Costs the time of two or three steps
    of training; the adapters are as before.

    Args:
        trainer: One whose training has not begun.
        highest: A learning rate.
    """
    config, parameters = trainer.plan.config, list(trainer.attachment.parameters())
    optimizer = make_adam(trainer.attachment.parameter_groups(config.lora_plus), highest, trainer.device)
    first, second = (trainer.batches.sample(iteration) for iteration in (0, 1))
    set_differentiable(trainer.backbone, True)
    means, _ = trainer.gradients().run(first.lr.to(trainer.device), first.hr.to(trainer.device), 0)
    set_differentiable(trainer.backbone, False)
    means.put_back()
    start = [parameter.detach().clone() for parameter in parameters]
    lrs = [batch.lr.to(trainer.device) for batch in (first, second)]

    @torch.no_grad()
    def change(rate: float) -> float:
        """Root mean square of the pictures' change by one step at a rate."""
        set_rate(optimizer, rate)
        optimizer.step()
        optimizer.state.clear()
        after = pictures()
        for parameter, value in zip(parameters, start, strict=True):
            parameter.copy_(value)
        return float((after - before).square().mean().sqrt())

    @torch.no_grad()
    def pictures() -> Tensor:
        with exact_products(trainer.device):
            return torch.cat([super_resolve(trainer.backbone, lr) for lr in lrs]).double()

    before = pictures()
    lowest = highest * _REFERENCE
    slope = change(lowest) / lowest
    rate = highest
    while rate > lowest and not change(rate) <= DEPARTURE * rate * slope:  # that of a NaN is too large too
        rate /= 2
    return rate
