"""``training/guard.json``: how strong an adapter may be that no real pair of another scene was watched for, and why."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from adaptsr_cli.artifacts.base import FORMAT_VERSION, StrictModel
from adaptsr_cli.units import plural

SURE_SHARE: Final = 0.9
"""Of the versions, how many must gain at least what is promised."""

Varied = Literal["cameras", "colours"]
"""What differs between the versions of the images: the plausible camera that takes a sharp photograph, without pairs;
the order of the colour channels, where real pairs of no other scene were watched than of those trained on."""


class GuardRecord(StrictModel):
    """What an adapter gains on several versions of images that it was not trained on, by its strength.

    After ``adapt --folds`` that is the mean of what those of the folds gained, each on its own images.

    Attributes:
        adapter_sha256: Of the adapter's file.
        varied: What differs between the versions.
        versions: How many were tried.
        images: How many images each of them has.
        strengths: That were tried, rising from 0, the backbone.
        low_db: At each, the gain in PSNR-Y that `SURE_SHARE` of the versions exceed.
        median_db: At each, the gain of the median version.
        strength: The chosen one.
    """

    artifact: Literal["guard"] = "guard"
    format_version: Literal[1] = FORMAT_VERSION
    adapter_sha256: str
    varied: Varied
    versions: Annotated[int, Field(gt=0)]
    images: Annotated[int, Field(gt=0)]
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
        if self.keeps_backbone:
            return (
                "guard: the backbone is kept, for the adapter gains too little, or too unevenly, on "
                f"{self.describe_trial()}"
            )
        place = self.strengths.index(self.strength)
        how = " in simulation" if self.varied == "cameras" else ""
        return (
            f"guard: strength {self.strength:g}, at which nine in ten of {self.describe_trial()} gain "
            f"{self.low_db[place]:.2f} dB or more{how}, half of them {self.median_db[place]:.2f} dB. What it gains on "
            f"{'the camera itself' if self.varied == 'cameras' else 'other scenes'} is uncertain"
        )

    def describe_trial(self) -> str:
        """What it was tried on: ``12 plausible cameras and 6 photos``."""
        if self.varied == "cameras":
            return f"{plural(self.versions, 'plausible camera')} and {plural(self.images, 'photo')}"
        return f"{plural(self.versions, 'order')} of the colours and {plural(self.images, 'held-out pair')}"
