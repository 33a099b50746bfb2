"""Short names of files, for tables and messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from adaptsr_cli.units import readable


def name_files(paths: Sequence[Path]) -> list[str]:
    """A short name for each file, all different: its own, else with its folder's, else with a number."""
    names = [readable(path.stem) for path in paths]
    often = Counter(names)
    names = [
        name if often[name] == 1 else f"{readable(path.resolve().parent.name)}/{name}"
        for name, path in zip(names, paths, strict=True)
    ]
    often = Counter(names)
    return [name if often[name] == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)]
