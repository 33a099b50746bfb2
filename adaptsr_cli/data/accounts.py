"""Accounts of what became of every file of a data folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from adaptsr_cli.artifacts.files import FileAccount, LeftOutFiles
from adaptsr_cli.data.layouts import Pair, PairSet, files_of
from adaptsr_cli.io.contents import LeftOut
from adaptsr_cli.units import readable

_EXAMPLES: Final = 3


def account_files(pairs: PairSet, parts: Mapping[str, Collection[Pair]], rest: str) -> FileAccount:
    """Account for every file of a set.

    Args:
        pairs: The set before it was split.
        parts: What for -> the pairs that are used for it; the same files are counted once, for the first.
        rest: Why the other pairs of the set are not used.
    """
    left = files_of(pairs.pairs)
    used: dict[str, int] = {}
    for name, part in parts.items():
        own = files_of(part) & left
        if own:
            used[name] = len(own)
        left -= own
    groups = [*pairs.left_out, *((LeftOut(rest, tuple(sorted(left))),) if left else ())]
    return FileAccount(
        folder=str(pairs.root),
        files=sum(used.values()) + sum(len(group.paths) for group in groups),
        used=used,
        left_out=tuple(
            LeftOutFiles(
                reason=group.reason,
                files=len(group.paths),
                examples=tuple(readable(_below(path, pairs.root)) for path in group.paths[:_EXAMPLES]),
            )
            for group in groups
        ),
    )


def _below(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path
