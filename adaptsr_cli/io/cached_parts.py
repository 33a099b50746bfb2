"""Named byte strings in one file of the cache folder: written whole, checked when read, the oldest files dropped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from adaptsr_cli.io.atomic import drop_old_partial_files, replace_atomically

SUFFIX: Final = ".parts"
_DIGEST_BYTES: Final = hashlib.sha256().digest_size


def write_parts(path: Path, parts: Mapping[str, bytes], *, limit_bytes: int) -> None:
    """Write parts in place of what is there; the files of the folder that were not used for longest make room.

    Args:
        path: The file, with the suffix `SUFFIX`.
        parts: What to keep.
        limit_bytes: Of all files of the folder together.

    Raises:
        AdaptsrError: The folder cannot be written.
    """
    index = json.dumps({name: len(data) for name, data in parts.items()}).encode() + b"\n"
    digest = hashlib.sha256(index)
    for data in parts.values():
        digest.update(data)
    with replace_atomically(path) as temporary, temporary.open("wb") as file:
        file.writelines((digest.digest(), index, *parts.values()))
    drop_old_partial_files(path.parent)
    _make_room(path, limit_bytes)


def read_parts(path: Path) -> dict[str, bytes] | None:
    """Read what `write_parts` wrote; None where there is no such file, or it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    content = memoryview(data)[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != data[:_DIGEST_BYTES]:
        return None
    with suppress(OSError):
        os.utime(path)  # used just now
    line, _, _ = data[_DIGEST_BYTES:].partition(b"\n")
    start, parts = len(line) + 1, {}
    for name, size in json.loads(line).items():
        parts[name] = bytes(content[start : start + size])
        start += size
    return parts


def _make_room(kept: Path, limit_bytes: int) -> None:
    """Remove the least recently used files beyond the limit; `kept` stays."""
    with suppress(OSError):  # another process may be doing the same
        states = [(path.stat(), path) for path in kept.parent.glob(f"*{SUFFIX}") if path != kept]
        left_bytes = limit_bytes - kept.stat().st_size
        for state, path in sorted(states, key=lambda item: item[0].st_mtime, reverse=True):
            left_bytes -= state.st_size
            if left_bytes < 0:
                path.unlink(missing_ok=True)
