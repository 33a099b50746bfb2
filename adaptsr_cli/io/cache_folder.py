"""Where things lie that can be made again: downloads, measurements, decoded images."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

CACHE_VARIABLE: Final = "ADAPTSR_CACHE"


def cache_dir() -> Path:
    """The cache folder: ``ADAPTSR_CACHE``, else ``adaptsr`` in the place that the system has for caches.

    Nothing is made by asking for it.
    """
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser()
    return _system_cache_dir() / "adaptsr"


def _system_cache_dir() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
