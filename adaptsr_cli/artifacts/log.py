"""``training/log.jsonl``: one record a line."""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, Field

from adaptsr_cli.artifacts.base import StrictModel


class LogRow(StrictModel):
    """One line of ``training/log.jsonl``: a training or a validation record.

    Attributes:
        loss: Mean of the whole loss since the row before.
        parts: Means of its parts, where it has several; their names are the objective's.
        learning_rate: Of the last step; ``lr`` in logs of older versions.
    """

    iteration: Annotated[int, Field(ge=0)]
    loss: float | None = None
    parts: dict[str, float] | None = None
    learning_rate: Annotated[float | None, Field(validation_alias=AliasChoices("learning_rate", "lr"))] = None
    val_psnr_y_db: float | None = None
