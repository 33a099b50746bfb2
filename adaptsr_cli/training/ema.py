"""The moving average of the adapter over training, which is smoother than its last step."""

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
        """Takes the parameters' values after step `iteration` (counted from 1) into the average."""
        decay = min(self._decay, (1 + iteration) / (10 + iteration))
        if self._averages and self._averages[0].device.type == "cuda":  # all of them by one kernel
            torch._foreach_lerp_(self._averages, [parameter.detach() for parameter in self._parameters], 1 - decay)
            return
        for average, parameter in zip(self._averages, self._parameters, strict=True):
            average.lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The parameters hold the average within this block, and their own values again behind it."""
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
        """Puts saved averages back.

        Raises:
            ArtifactError: A tensor is missing, of another shape or not finite.
        """
        for index, average in enumerate(self._averages):
            saved = state.get(str(index))
            if saved is None or saved.shape != average.shape or not bool(saved.isfinite().all()):
                raise ArtifactError(f"{place}: the moving average is damaged", "train anew with --force")
            average.copy_(saved)

    @torch.no_grad()
    def _copy(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
