"""The methods by name, and which options each of them obeys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from adaptsr_cli.adapters.arc import place_arc
from adaptsr_cli.adapters.bitfit import place_bitfit
from adaptsr_cli.adapters.difffit import place_difffit
from adaptsr_cli.adapters.dora import place_dora
from adaptsr_cli.adapters.full import place_full
from adaptsr_cli.adapters.lora import place_lora
from adaptsr_cli.adapters.rasa import place_rasa
from adaptsr_cli.adapters.shira import place_shira
from adaptsr_cli.adapters.spec import AdapterLayout, AdapterSpec
from adaptsr_cli.artifacts.base import Factorization, LoraInit, Method, ShiraMask
from adaptsr_cli.errors import UsageError

METHODS: Final[dict[Method, Callable[[AdapterSpec], AdapterLayout]]] = {
    "lora": place_lora,
    "full": place_full,
    "bitfit": place_bitfit,
    "dora": place_dora,
    "shira": place_shira,
    "difffit": place_difffit,
    "arc": place_arc,
    "rasa": place_rasa,
}


DIRECTED_METHODS: Final[tuple[Method, ...]] = ("lora", "dora")
"""Methods with a choice of where their factors start."""

DIRECTED_FACTORIZATION: Final[Factorization] = "1x1-kxk"
"""The factorisation whose A factors the directions of `score` are for."""


def validate_method_options(method: Method, init: LoraInit, factorization: Factorization, mask: ShiraMask) -> None:
    """Refuses options that a method would not obey.

    Raises:
        UsageError: Naming the option.
    """
    if factorization != "1x1-kxk" and method not in ("lora", "dora", "rasa"):
        raise UsageError("--conv-factorization is for --method lora, dora and rasa", "leave --conv-factorization out")
    if init != "default" and method not in DIRECTED_METHODS:
        raise UsageError(f"--init {init} is for --method lora and dora", "leave --init out")
    if init == "gradient" and factorization != DIRECTED_FACTORIZATION:
        raise UsageError(
            f"--init gradient does not fit --conv-factorization {factorization}",
            "its directions are those of 1x1-kxk; leave one of the two out",
        )
    if init == "pissa" and factorization == "single":
        raise UsageError(
            "--init pissa does not fit --conv-factorization single, which is not the product of two matrices",
            "use --conv-factorization kxk-1x1, or leave one of the two out",
        )
    if mask != "magnitude" and method != "shira":
        raise UsageError("--shira-mask is for --method shira", "leave --shira-mask out")
