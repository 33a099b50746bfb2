"""Kinds of files: what a path is other than a regular file, told without opening it.

A named pipe without a writer is waited for until somebody writes, and a device may never end: neither is opened.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

_KINDS: Final = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

SAVE_FIRST: Final = "give a regular file: save what it holds in one first"
"""What to do about a file that is not regular."""


def describe_irregular(path: Path) -> str | None:
    """Describe what a path is, links followed, where that is no regular file, such as ``a folder``; None where it is.

    Raises:
        OSError: There is nothing of that name, or it cannot be looked at.
    """
    try:
        mode = path.stat().st_mode
    except ValueError as error:  # a null byte, which no name can have
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    return next((name for test, name in _KINDS if test(mode)), None)


def require_regular(path: Path) -> None:
    """Refuse to open what is no regular file.

    Raises:
        OSError: It is none, or it cannot be looked at; its `strerror` says so.
    """
    kind = describe_irregular(path)
    if kind == "a folder":
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind is not None:
        raise OSError(errno.EINVAL, f"it is {kind}, no regular file", str(path))
