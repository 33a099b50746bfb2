"""Files that encoders write to."""

from __future__ import annotations

from io import BufferedRandom, FileIO, UnsupportedOperation
from pathlib import Path


class _FileWithoutDescriptor(BufferedRandom):
    """A file without a descriptor for Pillow, which would write to that itself and not notice a full disk."""

    def fileno(self) -> int:
        """There is none.

        Raises:
            UnsupportedOperation: Always.
        """
        raise UnsupportedOperation("fileno")


def open_new(path: Path) -> BufferedRandom:
    """Open a file for an encoder; a disk that fills up is an error whoever writes."""
    return _FileWithoutDescriptor(FileIO(path, "w+"))
