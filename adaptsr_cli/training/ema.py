"""Exponential moving average of the adapter over training, which is smoother than its last step.

Own code in place of `torch.optim.swa_utils.AveragedModel`, which copies a whole module, where only the adapter's
parameters move, and takes the values after the first step as the start of the average, where this one starts from the
initial adapter: its numbers would differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from adaptsr_cli.errors import ArtifactError


class MovingAverage:
    """An exponential moving average of the adapter.

    The average of A and of B, not of B A: it costs no more than the adapter itself. In the first steps the decay is
    smaller, so that the start, where B is zero, does not weigh for long.

    Args:
        parameters: What is averaged; their present values are the start.
        decay: How much of the average is kept a step, in (0, 1).
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self._averages = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Update the average with the parameters' values after step `iteration` (counted from 1)."""
        self._move(1 - min(self._decay, (1 + iteration) / (10 + iteration)))

    def _move(self, share: float) -> None:
        """Move the average by a share of the way to the parameters' present values."""
        if self._averages and self._averages[0].device.type == "cuda":  # all of them by one kernel
            torch._foreach_lerp_(self._averages, [parameter.detach() for parameter in self._parameters], share)
            return
        for average, parameter in zip(self._averages, self._parameters, strict=True):
            average.lerp_(parameter.detach(), share)

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
        """Copies of the averages on the CPU, by number."""
        return {str(index): average.cpu().clone() for index, average in enumerate(self._averages)}

    def load(self, state: Mapping[str, Tensor], place: str) -> None:
        """Put saved averages back.

        Raises:
            ArtifactError: A tensor is missing, of another shape or not finite.
        """
        for index, average in enumerate(self._averages):
            saved = state.get(str(index))
            if saved is None or saved.shape != average.shape or not bool(saved.isfinite().all()):
                raise ArtifactError(f"{place}: the moving average is damaged", "start again with `force`")
            average.copy_(saved)

    @torch.no_grad()
    def _copy(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)


class Mean(MovingAverage):
    """The plain mean of the parameters' values over the steps that it is updated at.

    Args:
        parameters: What is averaged.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__(parameters, decay=1.0)
        self._count = 0

    @torch.no_grad()
    def begin_anew(self) -> None:
        """Forget all steps; until the next one the mean is what the parameters hold now."""
        self._count = 0
        for average, parameter in zip(self._averages, self._parameters, strict=True):
            average.copy_(parameter)  # no `lerp_`: what is forgotten may not be finite

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Take the present values in."""
        self._count += 1
        self._move(1 / self._count)
