"""``training/split.json``: the images of a training, and those held out from it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adaptsr_cli.artifacts.base import FORMAT_VERSION, StrictModel
from adaptsr_cli.artifacts.files import FileAccount


class SplitItem(StrictModel):
    """One image of a split, recognised by content, not by path.

    Attributes:
        scene: One name for all images that show the same things; None where that is the image alone.
    """

    name: str
    fingerprint: str
    scene: str | None = None


class SplitSource(StrictModel):
    """One of the sets that a training drew from.

    Attributes:
        folder: Where it lay.
        layout: What kind of data set it is.
        weight: Its share of the crops relative to the others; None where nothing was said.
        images: How many of its images were trained on.
    """

    folder: str
    layout: str
    weight: Annotated[float, Field(gt=0)] | None
    images: Annotated[int, Field(gt=0)]


class SplitRecord(StrictModel):
    """``training/split.json``: which images were trained on and which were held out.

    Attributes:
        align: What was done about shifts between the sides.
        sources: The sets that were trained on; empty in files of older versions.
        unused: Images on neither side, since they show what is beside held-out ones.
        test: Images that nothing but the final score may see; empty where there are too few, where another folder was
            named for it, and in files of older versions.
        files: What became of every file of the folders; empty in files of older versions.
    """

    artifact: Literal["split"] = "split"
    format_version: Literal[1] = FORMAT_VERSION
    data: str
    layout: str
    align: Literal["none", "shift"] = "none"
    sources: tuple[SplitSource, ...] = ()
    train: tuple[SplitItem, ...]
    held_out: tuple[SplitItem, ...]
    unused: tuple[SplitItem, ...] = ()
    test: tuple[SplitItem, ...] = ()
    files: tuple[FileAccount, ...] = ()
