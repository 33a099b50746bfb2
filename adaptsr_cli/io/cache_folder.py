"""Folder for files that can be made again: downloads, measurements."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import platformdirs

CACHE_VARIABLE: Final = "ADAPTSR_CACHE"


def cache_dir() -> Path:
    """Return the cache folder: ``ADAPTSR_CACHE``, else ``adaptsr`` in the system's folder for caches.

    The folder is not created.
    """
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    return platformdirs.user_cache_path("adaptsr", appauthor=False, opinion=False)
