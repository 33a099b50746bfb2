"""Import of spandrel without torchvision.

Spandrel imports all its architectures at once, which takes 0.1 s, and with two of them, LaMa and RestoreFormer, comes
torchvision, which takes 2 s: it draws in torch's compiler. Both are refused as backbones anyway (they fill holes and
restore faces). So the three functions that they take from torchvision are imported when they are first used; what is
detected and loaded stays the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

_DEFERRED: Final = "torchvision.transforms.functional"


class _DeferredName:
    """A name of torchvision's module that is imported when the name is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _resolve(self) -> Any:
        from torchvision.transforms import functional

        return getattr(functional, self._name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._resolve(), name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._resolve()(*arguments, **named)


class _DeferredModule(ModuleType):
    """What ``from torchvision.transforms.functional import name`` finds."""

    def __getattr__(self, name: str) -> _DeferredName:
        if name.startswith("__"):  # the import system asks for these
            raise AttributeError(name)
        return _DeferredName(name)


@contextmanager
def _torchvision_deferred() -> Iterator[None]:
    """Within this block names imported from torchvision's module stand for themselves until they are used."""
    if _DEFERRED in sys.modules:  # nothing to be gained
        yield
        return
    sys.modules[_DEFERRED] = _DeferredModule(_DEFERRED)
    try:
        yield
    finally:
        del sys.modules[_DEFERRED]


with _torchvision_deferred():
    from spandrel import MAIN_REGISTRY, Architecture, ArchRegistry, ArchSupport, ImageModelDescriptor
    from spandrel.util import KeyCondition, get_seq_len

__all__ = [
    "MAIN_REGISTRY",
    "ArchRegistry",
    "ArchSupport",
    "Architecture",
    "ImageModelDescriptor",
    "KeyCondition",
    "get_seq_len",
]
