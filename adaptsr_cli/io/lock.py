"""Lock of a run folder, for one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from adaptsr_cli.errors import AdaptsrError, BusyError
from adaptsr_cli.io.atomic import drop_old_partial_files

LOCK_NAME: Final = ".lock"


@contextmanager
def hold_folder(folder: Path, option: str = "run") -> Iterator[None]:
    """Hold a folder against other processes; the system lets it go when the process ends, however it ends.

    Within one process it may be held several times. What killed processes have left in it half written is removed, not
    what lies in the folders below, which others may hold.

    Args:
        folder: The folder; made where missing.
        option: By which the user names it.

    Raises:
        BusyError: Another process holds it.
        AdaptsrError: The folder cannot be written, or its file system knows no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME, timeout=0, is_singleton=True)
        lock.acquire()
    except Timeout as error:
        raise BusyError(
            f"another adaptsr process is at work in {folder}", f"wait until it is done, or use another `{option}`"
        ) from error
    except NotImplementedError as error:
        raise AdaptsrError(
            f"the file system of {folder} has no file locks, so two processes could spoil each other's work",
            f"use a folder on a local disk for `{option}`",
        ) from error
    except OSError as error:
        raise AdaptsrError(
            f"cannot write into {folder}: {error.strerror or error}",
            f"check the permissions and the free space, or use another `{option}`",
        ) from error
    try:
        drop_old_partial_files(folder)
        yield
    finally:
        lock.release()
