"""Account of the files in a data folder: how many are used and for what, and how many are left out and why."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from adaptsr_cli.artifacts.base import StrictModel


class LeftOutFiles(StrictModel):
    """Files that are left out for one reason.

    Attributes:
        reason: Why.
        files: How many.
        examples: The names of the first ones.
    """

    reason: str
    files: Annotated[int, Field(gt=0)]
    examples: tuple[str, ...]


USES: Final = frozenset({"train", "held_out", "test", "scored"})
"""What the files of a folder may be used for."""


class FileAccount(StrictModel):
    """Every file of one data folder.

    Attributes:
        folder: As it was named.
        files: How many there are.
        used: What for, as `USES` names it -> how many; both files of a pair count.
        left_out: The others.
    """

    folder: str
    files: Annotated[int, Field(ge=0)]
    used: dict[str, int]
    left_out: tuple[LeftOutFiles, ...]

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        if not self.used.keys() <= USES:
            raise ValueError(f"files are used for {', '.join(sorted(self.used.keys() - USES))}")
        if self.files != sum(self.used.values()) + sum(group.files for group in self.left_out):
            raise ValueError("the files used and left out do not add up")
        return self
