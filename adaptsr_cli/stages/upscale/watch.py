"""New images in watched folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Final

from adaptsr_cli.stages.upscale.jobs import Source, find_images

POLL_S: Final = 1.0


@dataclass(frozen=True)
class _State:
    """What tells one content of a file from another, cheaply."""

    size_bytes: int
    changed_ns: int


def watch_folders(
    folders: Sequence[Path], *, recursive: bool, wait: Callable[[], None] = lambda: sleep(POLL_S)
) -> Iterator[list[Source]]:
    """Give the images that have come into folders, for ever.

    A file counts as complete when its size and time were the same at two looks in a row: who copies a file into the
    folder writes it bit by bit. One that changes later is given again.

    Args:
        folders: Where to look.
        recursive: In the folders below, too.
        wait: What to do between two looks.

    Yields:
        The new complete files of one look, in the order of their names; never none.
    """
    seen: dict[Path, _State] = {}  # at the last look
    given: dict[Path, _State] = {}
    while True:
        now = {
            source.path: (source, state)
            for source in find_images(folders, recursive=recursive)
            if (state := _look(source.path)) is not None
        }
        fresh = [
            source
            for path, (source, state) in now.items()
            if seen.get(path) == state and given.get(path) != state and state.size_bytes
        ]
        seen = {path: state for path, (_, state) in now.items()}
        given = {path: state for path, state in given.items() if path in now}
        given |= {source.path: seen[source.path] for source in fresh}
        if fresh:
            yield fresh
        wait()


def _look(path: Path) -> _State | None:
    """The state of a file; None where it has vanished since."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _State(found.st_size, found.st_mtime_ns)
