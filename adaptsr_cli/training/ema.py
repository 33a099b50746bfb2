"""Averages of the adapter over training, which are better than its last step.

Own code in place of `torch.optim.swa_utils.AveragedModel`, which copies a whole module, where only the adapter's
parameters move, and takes the values after the first step as the start of the average, where this one starts from the
initial adapter: its numbers would differ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

from adaptsr_cli.artifacts.train_config import TrainConfig
from adaptsr_cli.errors import ArtifactError

_POWER: Final = 2
_STEPS: Final = "steps"
_UNKNOWN_STEPS: Final = 1_000_000  # in files of older versions, whose only average forgets its first steps


class AdapterAverage(ABC):
    """An average of the adapter's values after its steps.

    The average of A and of B, not of B A: it costs no more than the adapter itself.

    Args:
        parameters: What is averaged; their present values are the start.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._averages = [parameter.detach().clone() for parameter in parameters]
        self._steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters' values after a step."""
        self._steps += 1
        share = self._share(self._steps)
        if self._averages and self._averages[0].device.type == "cuda":  # all of them by one kernel
            torch._foreach_lerp_(self._averages, [parameter.detach() for parameter in self._parameters], share)
            return
        for average, parameter in zip(self._averages, self._parameters, strict=True):
            average.lerp_(parameter.detach(), share)

    @abstractmethod
    def _share(self, step: int) -> float:
        """How far the average goes to the parameters' values after a step, counted from 1; in (0, 1]."""

    @torch.no_grad()
    def begin_anew(self) -> None:
        """Forget all steps; until the next one the average is what the parameters hold now."""
        self._steps = 0
        for average, parameter in zip(self._averages, self._parameters, strict=True):
            average.copy_(parameter)  # no `lerp_`: what is forgotten may not be finite

    def take_over(self) -> None:
        """Set the parameters to the average, which goes on."""
        self._copy(self._averages)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within this block the parameters hold the average; afterwards their own values again."""
        own = [parameter.detach().clone() for parameter in self._parameters]
        try:
            self._copy(self._averages)
            yield
        finally:
            self._copy(own)

    def state(self) -> dict[str, Tensor]:
        """Copies of the averages on the CPU, by number, and how many steps they are of."""
        averages = {str(index): average.cpu().clone() for index, average in enumerate(self._averages)}
        return averages | {_STEPS: torch.tensor(self._steps)}

    def load(self, state: Mapping[str, Tensor], place: str) -> None:
        """Put saved averages back.

        Raises:
            ArtifactError: A tensor is missing, of another shape or not finite.
        """
        damaged = ArtifactError(f"{place}: the moving average is damaged", "start again with `force`")
        steps = state.get(_STEPS, torch.tensor(_UNKNOWN_STEPS))
        if steps.numel() != 1 or int(steps) < 0:
            raise damaged
        for index, average in enumerate(self._averages):
            saved = state.get(str(index))
            if saved is None or saved.shape != average.shape or not bool(saved.isfinite().all()):
                raise damaged
            average.copy_(saved)
        self._steps = int(steps)

    @torch.no_grad()
    def _copy(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)


class MovingAverage(AdapterAverage):
    """An exponential moving average.

    In the first steps the decay is smaller, so that the start, where B is zero, does not weigh for long.

    Args:
        parameters: What is averaged.
        decay: How much of the average is kept a step, in (0, 1).
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        super().__init__(parameters)
        self._decay = decay

    def _share(self, step: int) -> float:
        return 1 - min(self._decay, (1 + step) / (10 + step))


class GrowingMean(AdapterAverage):
    """The mean of all steps, weighted by about the square of their number (Shamir and Zhang 2013).

    At a constant rate it does what a falling rate does, noise is averaged out, but at every moment and not at a planned
    end alone.

    Args:
        parameters: What is averaged.
    """

    def _share(self, step: int) -> float:
        return (_POWER + 1) / (_POWER + step)


def make_average(config: TrainConfig, parameters: Sequence[nn.Parameter]) -> AdapterAverage | None:
    """The average that is validated and kept by the options of a run; None where it is the last step."""
    if config.ema is not None:
        return MovingAverage(parameters, config.ema)
    return GrowingMean(parameters) if config.schedule == "constant" else None
