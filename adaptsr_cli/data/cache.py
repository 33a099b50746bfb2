"""Decoded images kept within bounds: in memory, then in memory-mapped files, else decoded at each reading."""

from __future__ import annotations

import mmap
import shutil
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

import numpy as np

Array = np.ndarray[Any, np.dtype[np.uint8]]
Sides = tuple[Array | None, Array]
"""The LR side, where there is one, and the HR side; (h, w, 3) uint8."""

# One open file and one mapping each, so that a large cache needs few of them. Space is taken only as it is filled.
_CHUNK_BYTES = 1 << 30
# So much of a disk is left to others: the smaller of a share and a number of bytes.
_KEEP_FREE_SHARE = 0.1
_KEEP_FREE_BYTES = 5 << 30


@dataclass(frozen=True)
class CacheStats:
    """What a cache holds and has done.

    Attributes:
        ram_bytes: Images held in memory.
        disk_bytes: Images held on disk.
        hits: Readings that needed no decoding.
        misses: Readings that decoded.
        disk_stopped: Why nothing more goes to the disk although its share is not used up; None where nothing is wrong.
    """

    ram_bytes: int
    disk_bytes: int
    hits: int
    misses: int
    disk_stopped: str | None


class ImageCache:
    """Keeps decoded images while there is room, first in memory and then on disk, and never throws one out.

    Training reads a set round by round, each image once a round. Where the set does not fit, throwing out what was not
    read for long would throw out every image just before it is read again; what stays gives its share of hits in every
    round. Safe to use from several threads; an image that several ask for at once is decoded once.

    Args:
        ram_bytes: Most bytes of images in memory.
        disk_bytes: Most bytes of images on disk; they count as file cache, which the system takes back when it needs
            memory.
        folder: Where the files lie; made where missing. They have no name there (on Windows they are deleted on
            closing), so nothing is left behind however the process ends. None for memory only.
    """

    def __init__(self, ram_bytes: int, disk_bytes: int, folder: Path | None) -> None:
        self._free_ram_bytes = ram_bytes
        self._ram_bytes = 0
        self._kept: dict[Hashable, Sides] = {}
        self._decoding: dict[Hashable, Future[Sides]] = {}
        self._disk = _Disk(folder, disk_bytes) if folder is not None else None
        self._hits = 0
        self._misses = 0
        self._closed = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, key: Hashable, decode: Callable[[], Sides]) -> Sides:
        """The images of a key, decoded now or earlier.

        Args:
            key: The same for the same images only.
            decode: What makes them; called in this thread, and again at a later reading where there is no room.

        Returns:
            What `decode` gave. Not to be written to: the arrays refuse it.

        Raises:
            Exception: Whatever `decode` raises, in every thread that waits for it.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._hits += 1
                return kept
            waiting = self._decoding.get(key)
            if waiting is None:
                mine = self._decoding[key] = Future()
                self._misses += 1
            else:
                self._hits += 1
        if waiting is not None:
            return waiting.result()
        try:
            sides = self._keep(key, decode())
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(sides)
            return sides
        finally:
            with self._lock:
                del self._decoding[key]

    def stats(self) -> CacheStats:
        """What is held and was done until now."""
        disk = self._disk
        with self._lock:
            return CacheStats(
                ram_bytes=self._ram_bytes,
                disk_bytes=disk.used_bytes if disk else 0,
                hits=self._hits,
                misses=self._misses,
                disk_stopped=disk.stopped if disk else None,
            )

    def close(self) -> None:
        """Lets go of everything. Arrays given out stay valid; nothing is kept of what is read afterwards."""
        with self._lock:
            self._closed = True
            self._kept.clear()
            self._free_ram_bytes = self._ram_bytes = 0
        if self._disk is not None:
            self._disk.close()

    def _keep(self, key: Hashable, sides: Sides) -> Sides:
        """The images where they will stay, read-only."""
        need = sum(side.nbytes for side in sides if side is not None)
        with self._lock:
            in_ram = need <= self._free_ram_bytes and not self._closed
            if in_ram:
                self._free_ram_bytes -= need
                self._ram_bytes += need
        stored: Sides | None = None
        if in_ram:
            lr, hr = sides
            stored = (_own(lr) if lr is not None else None, _own(hr))
        elif self._disk is not None:
            stored = self._disk.store(sides)
        for side in stored or sides:
            if side is not None:
                side.setflags(write=False)
        if stored is None:
            return sides
        with self._lock:
            if not self._closed:
                self._kept[key] = stored
        return stored


class _Chunk:
    """One file of a fixed length, filled from its beginning by writing and read through a mapping.

    Written by calls and not through the mapping: a full disk is then an error that can be caught, not a signal that
    ends the process.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        # Stays open: Windows deletes the file on closing.
        self._file = TemporaryFile(dir=folder, prefix="images-", buffering=0)  # noqa: SIM115
        try:
            self._file.truncate(size_bytes)
            self._mapped = mmap.mmap(self._file.fileno(), size_bytes, access=mmap.ACCESS_READ)
        except BaseException:
            self._file.close()
            raise
        self.free_bytes = size_bytes
        self._filled_bytes = 0

    def append(self, image: Array) -> Array:
        """Stores an image and gives it as it lies in the file."""
        start, left = self._filled_bytes, np.ascontiguousarray(image).data.cast("B")
        self._file.seek(start)
        while left:
            left = left[self._file.write(left) or 0 :]
        self._filled_bytes += image.nbytes
        self.free_bytes -= image.nbytes
        return np.frombuffer(self._mapped, np.uint8, image.size, start).reshape(image.shape)

    def close(self) -> None:
        """Takes no more; the mapping lives as long as an image in it."""
        self._file.close()


class _Disk:
    """Images in files under a folder, up to a number of bytes and never to the end of the disk."""

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._chunks: list[_Chunk] = []
        self._lock = threading.Lock()
        self.used_bytes = 0
        self.stopped: str | None = None

    def store(self, sides: Sides) -> Sides | None:
        """The images as they lie on disk; None where there is no room for them."""
        need = sum(side.nbytes for side in sides if side is not None)
        with self._lock:
            if self.stopped is not None or self.used_bytes + need > self._most_bytes:
                return None
            try:
                chunk = self._chunk_for(need)
                if chunk is None:
                    return None
                lr, hr = sides
                stored = (chunk.append(lr) if lr is not None else None, chunk.append(hr))
            except OSError as error:
                # The cache only saves time: training goes on without more of it.
                self.stopped = f"{self._folder}: {error.strerror or error}"
                return None
            self.used_bytes += need
            return stored

    def close(self) -> None:
        """Closes the files; what they hold goes with the last array given out."""
        with self._lock:
            for chunk in self._chunks:
                chunk.close()
            self._chunks.clear()
            self._most_bytes = self.used_bytes = 0

    def _chunk_for(self, need_bytes: int) -> _Chunk | None:
        """The last chunk if it has room, else a new one; None where the disk would be left with too little."""
        self._folder.mkdir(parents=True, exist_ok=True)
        total_bytes, _, free_bytes = shutil.disk_usage(self._folder)
        spare_bytes = free_bytes - min(int(total_bytes * _KEEP_FREE_SHARE), _KEEP_FREE_BYTES)
        if need_bytes > spare_bytes:
            self.stopped = f"{self._folder}: only {free_bytes / 1e9:.1f} GB of the disk are free"
            return None
        if not self._chunks or self._chunks[-1].free_bytes < need_bytes:
            # No more than is spare: a system without sparse files takes the whole of a chunk at once.
            size_bytes = max(need_bytes, min(_CHUNK_BYTES, self._most_bytes - self.used_bytes, spare_bytes))
            self._chunks.append(_Chunk(self._folder, size_bytes))
        return self._chunks[-1]


def _own(image: Array) -> Array:
    """The image without the larger one that it may be cut from, which would stay in memory with it."""
    whole = image
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    return image.copy() if whole.nbytes > image.nbytes else image
