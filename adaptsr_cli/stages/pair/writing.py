"""The folder of pairs: a shot's blocks come into it together or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adaptsr_cli.data.names import read_folder_name
from adaptsr_cli.errors import AdaptsrError, UsageError

_PARTIAL: Final = ".partial-shot-"
_BLOCK: Final = re.compile(r"(?P<shot>.+)_b\d{3,}")


@dataclass(frozen=True)
class PairFolder:
    """Where things lie; nothing is made by naming them.

    A shot is written into a hidden folder, moved into ``lr/`` and ``hr/`` when it is whole, and counts once
    ``pairs.json`` names it. Files of a shot that it does not name are leftovers of a process that was killed.
    """

    root: Path

    @property
    def record(self) -> Path:
        """``pairs.json``."""
        return self.root / "pairs.json"

    @property
    def page(self) -> Path:
        """``pairs.html``."""
        return self.root / "pairs.html"

    def preview(self, shot: str) -> Path:
        """Folder of the small pictures that the page shows."""
        return self.root / ".previews" / shot

    def partial(self, shot: str) -> Path:
        """Where a shot is written before it is moved."""
        return self.root / f"{_PARTIAL}{shot}"

    def block_name(self, shot: str, number: int) -> str:
        """Name of both files of a pair, without suffix."""
        return f"{shot}_b{number:03d}"

    def find_side(self) -> Path | None:
        """A folder with something in it that would be read as a side of pairs, such as ``lr/`` or ``GT/``."""
        entries = sorted(self.root.iterdir()) if self.root.is_dir() else []
        sides = (path for path in entries if path.is_dir() and read_folder_name(path.name).side is not None)
        return next((path for path in sides if any(path.iterdir())), None)

    def refuse_holding(self, photos: Iterable[Path]) -> None:
        """Refuse photographs that lie where pairs are written and removed.

        Raises:
            UsageError: One of them does.
        """
        own = [(self.root / side).resolve() for side in ("lr", "hr", ".previews")]
        for path in photos:
            if any(path.resolve().is_relative_to(folder) for folder in own):
                raise UsageError(f"{path} lies where the pairs are written", "give another `output`")

    def drop_unfinished(self, known: Collection[str]) -> None:
        """Remove what killed processes left: partial folders, and blocks of shots that are not on record."""
        for path in self.root.glob(f"{_PARTIAL}*"):
            shutil.rmtree(path, ignore_errors=True)
        for side in ("lr", "hr"):
            for path in (self.root / side).glob("*.png"):
                named = _BLOCK.fullmatch(path.stem)
                if named is not None and named["shot"] not in known:
                    path.unlink(missing_ok=True)

    def drop_shot(self, shot: str) -> None:
        """Remove a shot's blocks and previews."""
        for side in ("lr", "hr"):
            for path in (self.root / side).glob("*.png"):
                named = _BLOCK.fullmatch(path.stem)
                if named is not None and named["shot"] == shot:
                    path.unlink(missing_ok=True)
        shutil.rmtree(self.preview(shot), ignore_errors=True)

    def take_in(self, shot: str) -> None:
        """Move a whole shot from its partial folder to its place; on any interruption none of it stays.

        Raises:
            AdaptsrError: The files cannot be moved.
        """
        partial = self.partial(shot)
        moved: list[Path] = []
        try:
            # HR first: an HR file alone is no pair to anybody, an LR file alone would be missed by its HR.
            for side in ("hr", "lr"):
                (self.root / side).mkdir(exist_ok=True)
                for path in sorted((partial / side).glob("*.png")):
                    target = self.root / side / path.name
                    moved.append(target)
                    os.replace(path, target)  # noqa: PTH105
            place = self.preview(shot)
            place.parent.mkdir(exist_ok=True)
            shutil.rmtree(place, ignore_errors=True)
            (partial / "preview").rename(place)
        except BaseException as error:
            for path in moved:
                path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise AdaptsrError(
                    f"cannot write into {self.root}: {error.strerror or error}",
                    "check the permissions and the free space, or choose another `output`",
                ) from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def read_previews(self, shots: Sequence[str]) -> dict[str, dict[str, bytes]]:
        """Shot -> name -> JPEG or PNG, for the page; what is missing is left out."""
        return {
            shot: {path.stem: path.read_bytes() for path in sorted(self.preview(shot).glob("*.*"))}
            for shot in shots
            if self.preview(shot).is_dir()
        }
