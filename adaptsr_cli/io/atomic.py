"""Atomic writing of files: complete, or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from time import time
from typing import Final

from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.units import readable

_PARTIAL: Final = ".partial-"
_LEFTOVER_AFTER_S: Final = 3600.0
_UMASK_LOCK: Final = Lock()


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on leaving without error it is synced and renamed to `path`.

    Args:
        path: The final place. Its folder is made where missing.

    Yields:
        The temporary path (same suffix as `path`), to be written by the caller.

    Raises:
        AdaptsrError: The folder cannot be made or written, or the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=_PARTIAL, suffix=path.suffix, delete=False) as handle:
            temporary = Path(handle.name)
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        # NamedTemporaryFile makes files 0600; a result should have the mode any new file of the user gets.
        temporary.chmod(0o666 & ~_read_umask())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise AdaptsrError(
            f"cannot write {path}: {error.strerror or error}",
            "check the permissions and the free space, or choose another place",
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def drop_old_partial_files(folder: Path) -> None:
    """Remove temporary files that killed processes left in a folder where others may be writing.

    A file that nobody touched for an hour counts as left behind.
    """
    with suppress(OSError):
        for path in folder.glob(f"{_PARTIAL}*"):
            with suppress(OSError):
                if time() - path.stat().st_mtime > _LEFTOVER_AFTER_S:
                    path.unlink()


def _read_umask() -> int:
    """Return the process's file mode mask, which can only be read by setting it: one thread at a time."""
    with _UMASK_LOCK:
        umask = os.umask(0)
        os.umask(umask)
    return umask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable; not every system lets a folder be opened."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with replace_atomically(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    r"""Write `text` as UTF-8 to `path`, whole or not at all; bytes of file names that are none become ``\xe9``."""
    write_bytes(path, readable(text).encode("utf-8"))
