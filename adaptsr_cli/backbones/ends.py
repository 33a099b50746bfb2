"""Gradients in a lower precision: the convolutions that take the image in and give it out compute in fp32 all the same.

Eight bits of a number between 0.5 and 1 are one grey level, as much as a training changes the picture by: the gradient
of a network that is all bf16 may point elsewhere (`benchmarks/bf16_gradients.py`). What lies between the ends is
features, which bear it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import takewhile

import torch
from torch import Tensor, nn

from adaptsr_cli.backbones.backbone import Backbone, super_resolve
from adaptsr_cli.backbones.fast.forwards import forwards_replaced
from adaptsr_cli.runtime import Precision, autocast

_SIDE_PX = 16
_COLOURS = 3


class MixedPrecision:
    """The precision in which a network computes what its gradients are of.

    Args:
        backbone: The network, on its device, which runs once on a small image unless the precision is fp32.
        precision: Of all but the ends.
    """

    def __init__(self, backbone: Backbone, precision: Precision) -> None:
        self._precision = precision
        self._device = next(backbone.model.parameters()).device
        self._ends = [] if precision == "fp32" else find_ends(backbone)

    @contextmanager
    def context(self) -> Iterator[None]:
        """Within this block the network computes so; adapters must be on it already."""
        with autocast(self._device, self._precision), in_fp32(self._ends):
            yield


def find_ends(backbone: Backbone) -> list[nn.Conv2d]:
    """The first and the last convolution, and those beside them that have the image itself on their inner side too.

    Args:
        backbone: The network, which runs once on a small image. One without convolutions has no ends.
    """
    done: list[nn.Conv2d] = []
    convs = [module for module in backbone.model.modules() if isinstance(module, nn.Conv2d)]
    image = next(backbone.model.parameters()).new_zeros(1, _COLOURS, _SIDE_PX, _SIDE_PX)  # on its device
    with ExitStack() as hooks, torch.no_grad():
        for conv in convs:
            hooks.callback(conv.register_forward_hook(lambda conv, *_: done.append(conv)).remove)
        super_resolve(backbone, image)
    # Of networks that shift the mean of the colours by a convolution of 3 channels the next one takes the image too.
    first = list(takewhile(lambda conv: conv.out_channels == _COLOURS, done))
    last = list(takewhile(lambda conv: conv.in_channels == _COLOURS, reversed(done)))
    ends = [*done[: len(first) + 1], *done[max(0, len(done) - len(last) - 1) :]]
    return list(dict.fromkeys(ends))


def in_fp32(convs: Sequence[nn.Conv2d]) -> AbstractContextManager[None]:
    """A context in which these convolutions compute in fp32, whatever autocast says."""
    return forwards_replaced([(conv, partial(_without_autocast, conv.forward)) for conv in convs])


def _without_autocast(forward: Callable[[Tensor], Tensor], signal: Tensor) -> Tensor:
    with torch.autocast(signal.device.type, enabled=False):
        return forward(signal.float())
