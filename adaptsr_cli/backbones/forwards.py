"""Standing in for the forward pass of modules for a while, their parameters, names and hooks being left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def forwards_replaced(replacements: Iterable[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Within this block the modules compute by other functions.

    Args:
        replacements: Each module once, with what computes in its place.
    """
    before = []
    for module, forward in replacements:
        # It may have a forward pass of its own already: a fused one, or one through oneDNN.
        before.append((module, vars(module).get("forward")))
        vars(module)["forward"] = forward
    try:
        yield
    finally:
        for module, old in before:
            if old is None:
                del vars(module)["forward"]
            else:
                vars(module)["forward"] = old
