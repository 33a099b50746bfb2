"""``training/guard.json``: how strong an adapter that was trained without pairs may be, and why."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from adaptsr_cli.artifacts.base import FORMAT_VERSION, StrictModel
from adaptsr_cli.units import plural

SURE_SHARE: Final = 0.9
"""Of the plausible cameras, how many must gain at least what is promised."""


class GuardRecord(StrictModel):
    """What an adapter gains on sharp photographs as plausible cameras would take them, by its strength.

    Attributes:
        adapter_sha256: Of the adapter's file.
        cameras: How many plausible cameras were tried.
        photographs: How many sharp photographs, none of them trained on.
        strengths: That were tried, rising from 0, the backbone.
        low_db: At each, the gain in PSNR-Y that `SURE_SHARE` of the cameras exceed.
        median_db: At each, the gain of the median camera.
        strength: The chosen one.
    """

    artifact: Literal["guard"] = "guard"
    format_version: Literal[1] = FORMAT_VERSION
    adapter_sha256: str
    cameras: Annotated[int, Field(gt=0)]
    photographs: Annotated[int, Field(gt=0)]
    strengths: Annotated[tuple[float, ...], Field(min_length=2)]
    low_db: tuple[float, ...]
    median_db: tuple[float, ...]
    strength: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if not len(self.strengths) == len(self.low_db) == len(self.median_db):
            raise ValueError("there must be as many gains as strengths")
        if self.strength not in self.strengths:
            raise ValueError(f"the strength {self.strength} was not tried")
        return self

    @property
    def keeps_backbone(self) -> bool:
        """Whether the adapter is left out."""
        return self.strength == 0

    def describe(self) -> str:
        """One line for people."""
        tried = f"{plural(self.cameras, 'plausible camera')} and {plural(self.photographs, 'photo')}"
        if self.keeps_backbone:
            return f"guard: the backbone is kept, for the adapter does not gain on nine in ten of {tried}"
        place = self.strengths.index(self.strength)
        return (
            f"guard: strength {self.strength:g}, at which nine in ten of {tried} gain {self.low_db[place]:.2f} dB or "
            f"more in simulation, half of them {self.median_db[place]:.2f} dB"
        )
