"""Gradient accumulation: a batch computed in parts, with the gradients and losses of the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn


class GradientAccumulator:
    """Gradients and losses of a batch, summed over its parts.

    Each part is weighted after its backward pass and added in order. So N parts in one process and one part in each
    of two processes do the same arithmetic: two processes equal one with `accumulate=2` bit for bit on the CPU.

    Args:
        parameters: Whose gradients are collected.

    Attributes:
        losses: Weighted sums of the parts' losses by name.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        self._sums: list[Tensor | None] = [None] * len(parameters)
        self.losses: dict[str, Tensor] = {}

    def add(self, losses: Mapping[str, Tensor], *, share: float) -> None:
        """Add the parameters' present gradients and these losses.

        Args:
            losses: Detached scalars.
            share: Size of the part over that of the whole.
        """
        for index, parameter in enumerate(self._parameters):
            # A site that the forward pass does not reach has no gradient.
            if (gradient := parameter.grad) is None:
                continue
            weighted = gradient if share == 1 else gradient.mul_(share)
            total = self._sums[index]
            self._sums[index] = weighted if total is None else total.add_(weighted)
        for name, loss in losses.items():
            weighted = loss * share
            self.losses[name] = self.losses[name] + weighted if name in self.losses else weighted

    def put_back(self) -> list[Tensor]:
        """Set the sums as the parameters' gradients, and return them."""
        for parameter, total in zip(self._parameters, self._sums, strict=True):
            parameter.grad = total
        return [total for total in self._sums if total is not None]


def split_rows(count: int, parts: int) -> list[slice]:
    """Contiguous parts of `count` rows, as equal as can be, none empty."""
    parts = min(parts, count)
    return [slice(part * count // parts, (part + 1) * count // parts) for part in range(parts)]
