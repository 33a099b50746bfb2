"""Standing in for the forward pass of modules, their parameters, names and hooks being left alone.

For as long as a network is loaded (`fuse`), or for a while (`forwards_replaced`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


class FusedForward:
    """A forward pass of ours that computes what the published code computes, faster; a callable."""


def fuse(module: nn.Module, forward: FusedForward) -> None:
    """Give a module a forward pass of ours, which `published_forwards` takes away for a while."""
    vars(module)["forward"] = forward


def unfuse(model: nn.Module) -> bool:
    """Give a network its published code back for good.

    Returns:
        Whether any forward pass of ours was taken away.
    """
    ours = [module for module in model.modules() if isinstance(vars(module).get("forward"), FusedForward)]
    for module in ours:
        del vars(module)["forward"]
    return bool(ours)


@contextmanager
def published_forwards(model: nn.Module) -> Iterator[None]:
    """Within this block the network runs the published code: for comparisons, and to be traced with free sizes."""
    ours = [module for module in model.modules() if isinstance(vars(module).get("forward"), FusedForward)]
    fused = [(module, vars(module).pop("forward")) for module in ours]
    try:
        yield
    finally:
        for module, forward in fused:
            vars(module)["forward"] = forward


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
