"""Checksums and fingerprints of files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from adaptsr_cli.errors import DataError
from adaptsr_cli.io.file_kinds import require_regular

_CHUNK_BYTES: Final = 64 << 10


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    require_regular(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_fingerprint(path: Path) -> str:
    """Return a cheap identity of a file that survives moving and copying: its size, first and last 64 KiB, hashed.

    Returns:
        16 hexadecimal digits.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        require_regular(path)
        with path.open("rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(0)
            digest = hashlib.sha256(f"{size_bytes}:".encode())
            digest.update(file.read(_CHUNK_BYTES))
            file.seek(max(0, size_bytes - _CHUNK_BYTES))
            digest.update(file.read(_CHUNK_BYTES))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", "check the file") from error
    return digest.hexdigest()[:16]
