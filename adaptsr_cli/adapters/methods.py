"""The table of methods, and the check that a method obeys the options given with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from adaptsr_cli.adapters import arc, bitfit, difffit, dora, full, lora, rasa, shira
from adaptsr_cli.adapters.spec import MethodSpec
from adaptsr_cli.artifacts.base import Factorization, LoraInit, Method, ShiraMask
from adaptsr_cli.errors import UsageError

# The command line must list the names without importing torch, so they stand in `artifacts.base.Method` too; a test
# compares the two.
METHODS: Final[dict[Method, MethodSpec]] = {
    spec.name: spec
    for spec in (
        lora.METHOD,
        full.METHOD,
        bitfit.METHOD,
        dora.METHOD,
        shira.METHOD,
        difffit.METHOD,
        arc.METHOD,
        rasa.METHOD,
    )
}
"""Every method by its name."""

_FACTORIZATIONS_OF_INITS: Final[dict[LoraInit, tuple[Factorization, ...]]] = {
    "gradient": ("1x1-kxk",),  # `score` measures the directions of this factorisation's A
    "pissa": ("1x1-kxk", "kxk-1x1"),  # the third is not a product of two matrices, so it has no singular values
}
"""Factorisations that an initialisation is defined for; one that is not listed is defined for all."""


def allows_init(method: Method, init: LoraInit, factorization: Factorization) -> bool:
    """Tell whether the factors of a method can start so."""
    return init in METHODS[method].inits and factorization in _FACTORIZATIONS_OF_INITS.get(init, (factorization,))


def validate_method_options(method: Method, init: LoraInit, factorization: Factorization, mask: ShiraMask) -> None:
    """Refuse options that a method does not obey.

    Raises:
        UsageError: Naming the option.
    """
    spec = METHODS[method]
    if factorization not in spec.factorizations:
        able = list_methods(other for other in METHODS.values() if factorization in other.factorizations)
        raise UsageError(f"`conv_factorization` is for `method` {able}", "leave `conv_factorization` out")
    if init not in spec.inits:
        able = list_methods(other for other in METHODS.values() if init in other.inits)
        raise UsageError(f"`init` {init} is for `method` {able}", "leave `init` out")
    if not allows_init(method, init, factorization):
        fitting = " or ".join(_FACTORIZATIONS_OF_INITS[init])
        raise UsageError(
            f"`init` {init} does not fit `conv_factorization` {factorization}",
            f"use `conv_factorization` {fitting}, or leave one of the two out",
        )
    if mask not in spec.masks:
        able = list_methods(other for other in METHODS.values() if mask in other.masks)
        raise UsageError(f"`shira_mask` {mask} is for `method` {able}", "leave `shira_mask` out")


def list_methods(specs: Iterable[MethodSpec]) -> str:
    """Write names for a message: ``lora, dora and rasa``."""
    *first, last = (spec.name for spec in specs)
    return f"{', '.join(first)} and {last}" if first else last
