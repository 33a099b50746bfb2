"""New images in watched folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Final

from adaptsr_cli.io.integrity import is_whole
from adaptsr_cli.stages.upscale.inputs import Source, find_images

POLL_S: Final = 1.0
PATIENCE: Final = 10
"""Looks at which a file that seems cut off must not have changed: until then its copying may only have paused."""


@dataclass(frozen=True)
class _State:
    """What tells one content of a file from another, cheaply."""

    size_bytes: int
    changed_ns: int


def watch_folders(
    folders: Sequence[Path], *, recursive: bool, wait: Callable[[], None] = lambda: sleep(POLL_S)
) -> Iterator[list[Source]]:
    """Give the images that have come into folders, for ever.

    A file counts as complete when its size and time were the same at two looks in a row and it ends where its format
    says: who copies a file into the folder writes it bit by bit. One that does not end so is given after `PATIENCE`
    looks, and will fail. One that changes later is given again.

    Args:
        folders: Where to look.
        recursive: In the folders below, too.
        wait: What to do between two looks.

    Yields:
        The new complete files of one look, in the order of their names; never none.
    """
    seen: dict[Path, tuple[_State, int]] = {}  # state, and at how many looks in a row it was that
    given: dict[Path, _State] = {}
    while True:
        now = {
            source.path: (source, state)
            for source in find_images(folders, recursive=recursive)
            if (state := _look(source.path)) is not None
        }
        seen = {
            path: (state, seen[path][1] + 1 if path in seen and seen[path][0] == state else 1)
            for path, (_, state) in now.items()
        }
        fresh = [
            source
            for path, (source, state) in now.items()
            if given.get(path) != state and state.size_bytes and _is_complete(path, seen[path][1])
        ]
        given = {path: state for path, state in given.items() if path in now}
        given |= {source.path: seen[source.path][0] for source in fresh}
        if fresh:
            yield fresh
        wait()


def _is_complete(path: Path, looks: int) -> bool:
    """Whether a file that was the same at so many looks in a row is no longer written."""
    return looks > PATIENCE or (looks > 1 and is_whole(path))


def _look(path: Path) -> _State | None:
    """The state of a file; None where it has vanished since."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _State(found.st_size, found.st_mtime_ns)
