"""The methods by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from adaptsr_cli.adapters.arc import place_arc
from adaptsr_cli.adapters.bitfit import place_bitfit
from adaptsr_cli.adapters.difffit import place_difffit
from adaptsr_cli.adapters.dora import place_dora
from adaptsr_cli.adapters.full import place_full
from adaptsr_cli.adapters.lora import place_lora
from adaptsr_cli.adapters.parametrization import Blueprint, Order
from adaptsr_cli.adapters.rasa import place_rasa
from adaptsr_cli.adapters.shira import place_shira
from adaptsr_cli.artifacts import Method

METHODS: Final[dict[Method, Callable[[Order], Blueprint]]] = {
    "lora": place_lora,
    "full": place_full,
    "bitfit": place_bitfit,
    "dora": place_dora,
    "shira": place_shira,
    "difffit": place_difffit,
    "arc": place_arc,
    "rasa": place_rasa,
}
