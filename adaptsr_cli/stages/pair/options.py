"""Options of ``adaptsr pair``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from adaptsr_cli.options import Argument, Flag, OptionsModel
from adaptsr_cli.stages.common import fields


def _as_places(value: Any) -> Any:
    """Let Python name one folder where the command line takes several places."""
    return (value,) if isinstance(value, str | Path) else value


class PairOptions(OptionsModel):
    """Photographs of the same scenes at two focal lengths, and what is made of them."""

    photos: Annotated[
        tuple[Path, ...],
        BeforeValidator(_as_places),
        Field(description="WIDE and TELE, or photographs and folders of shots."),
        Argument("PHOTOS"),
    ] = ()
    output: Annotated[Path, fields.FOLDER, Field(description="Folder for the pairs."), Flag(("--output", "-o"))] = Path(
        "pairs"
    )
    list_file: Annotated[
        Path | None, Field(description="Table of shots: a line is WIDE, TELE (comma or tab)."), Flag(("--list",))
    ] = None
    scale: Annotated[
        int | None,
        Field(ge=2, le=8, description="HR px per LR px."),
        Flag(default_text="that of the run's network, else of the embedded one"),
    ] = None
    keep_colour: Annotated[
        bool,
        Field(description="Leave HR in the colours of the tele photograph; else they are fitted to LR's."),
        Flag(("--keep-colour",)),
    ] = False
    block: Annotated[
        int, Field(ge=48, le=512, multiple_of=16, description="Side of a pair's LR file in px; a multiple of 16.")
    ] = 96
    run: fields.Run = fields.DEFAULT_RUN
    model: fields.Model = None
    force: Annotated[
        bool, Field(description="Make shots again that are in the folder already."), Flag(("--force",))
    ] = False
