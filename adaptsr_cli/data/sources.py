"""Which images the user means: folders with weights, two folders by side, or a list."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

from adaptsr_cli.errors import UsageError

Align = Literal["none", "shift"]

_WEIGHT = re.compile(r"\d+(?:\.\d{1,3})?|\.\d{1,3}")
_MAX_WEIGHT: Final = 1000.0
_WEIGHT_HINT = f"write FOLDER:WEIGHT with a weight from 0.001 to {_MAX_WEIGHT:.0f}, three decimals at most"
_HINT = "name folders by `data`, two folders by `hr_dir` and `lr_dir`, or a list of pairs by `list_file`"


@dataclass(frozen=True)
class WeightedFolder:
    """A folder and its share of the drawn crops relative to the other folders; None where nothing is said."""

    path: Path
    weight: float | None


@dataclass(frozen=True)
class DataSpec:
    """The images that a command works on: exactly one of folders, two sides, or a list.

    Attributes:
        folders: Data sets or folders of photographs, in any layout that is recognised.
        hr: The HR side, with `lr`: pairs by file names, whatever the folders are called.
        lr: The LR side.
        list_file: A text file with one pair or one photograph a line.
        align: ``shift`` corrects whole-pixel shifts between the sides and leaves out pairs beyond repair.

    Raises:
        UsageError: Nothing is named, only one side, several kinds at once, or a folder twice.
    """

    folders: tuple[WeightedFolder, ...] = ()
    hr: Path | None = None
    lr: Path | None = None
    list_file: Path | None = None
    align: Align = "none"

    def __post_init__(self) -> None:
        if (self.hr is None) != (self.lr is None):
            given, missing = ("`hr_dir`", "`lr_dir`") if self.lr is None else ("`lr_dir`", "`hr_dir`")
            raise UsageError(
                f"{given} without {missing}", "name both sides; photographs without LR images go to `data`"
            )
        kinds = {
            "`data`": bool(self.folders),
            "`hr_dir` and `lr_dir`": self.hr is not None,
            "`list_file`": bool(self.list_file),
        }
        given_kinds = [kind for kind, given in kinds.items() if given]
        if not given_kinds:
            raise UsageError("no images are named: `data` is missing", _HINT)
        if len(given_kinds) > 1:
            raise UsageError(f"{' together with '.join(given_kinds)}", "name the images in one way only")
        resolved = [folder.path.resolve() for folder in self.folders]
        for folder, place in zip(self.folders, resolved, strict=True):
            if resolved.count(place) > 1:
                raise UsageError(
                    f"`data` names {folder.path} twice", "name it once, with a weight to draw it more often"
                )

    @classmethod
    def of(cls, path: Path, align: Align = "none") -> Self:
        """One folder, all of whose images count alike."""
        return cls(folders=(WeightedFolder(path, None),), align=align)

    def describe(self) -> str:
        """The paths as the user gave them, in one line."""
        if self.list_file is not None:
            return str(self.list_file)
        if self.hr is not None:
            return f"{self.hr} and {self.lr}"
        return ", ".join(
            str(folder.path) if folder.weight is None else f"{folder.path}:{folder.weight:g}" for folder in self.folders
        )


def parse_folder(text: str) -> WeightedFolder:
    """Read ``photos`` or ``photos:0.3``.

    A path that exists goes before the split at the last colon, so a folder may have a colon in its name; Windows'
    ``C:\\photos`` has no number after it.

    Raises:
        UsageError: What stands after the colon is no weight.
    """
    whole = Path(text)
    head, colon, tail = text.rpartition(":")
    if not colon or not head or whole.exists():
        return WeightedFolder(whole, None)
    if _WEIGHT.fullmatch(tail):
        weight = float(tail)
        if 0 < weight <= _MAX_WEIGHT:
            return WeightedFolder(Path(head), weight)
    elif not Path(head).is_dir() or re.search(r"[/\\]", tail):
        return WeightedFolder(whole, None)  # no weight was meant; that the folder is missing is said when it is opened
    raise UsageError(f"the weight {tail!r} of `data` {head} is not a weight", _WEIGHT_HINT)


def choose_data(
    folders: Sequence[str] | None,
    hr: Path | None,
    lr: Path | None,
    list_file: Path | None,
    align: Align,
    run: Path | None = None,
) -> DataSpec:
    """The choice that the options make; `run` is the folder into which results are written, where there is one.

    Raises:
        UsageError: As `DataSpec` and `parse_folder`; or the run would draw its pictures in among the images.
    """
    chosen = DataSpec(tuple(parse_folder(text) for text in folders or ()), hr, lr, list_file, align)
    for folder in (folder.path for folder in chosen.folders):
        if run is not None and folder.resolve() == run.resolve():
            raise UsageError(
                f"`run` {run} is the folder of the images: what is drawn there would be taken for some of them",
                "name another folder by `run`; it may lie in this one",
            )
    return chosen
