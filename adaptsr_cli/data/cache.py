"""Cache of decoded images in memory, within a number of bytes.

Own code, since it differs from `functools.lru_cache` in three things that training needs: its bound is in bytes, it is
filled once and never evicts, and an image that several threads ask for at once is decoded once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from adaptsr_cli.arrays import Uint8Array

Sides = tuple[Uint8Array | None, Uint8Array]
"""The LR side, where there is one, and the HR side; (h, w, 3) uint8."""


@dataclass(frozen=True)
class CacheStats:
    """Contents and use of a cache.

    Attributes:
        ram_bytes: Bytes of images held in memory.
        hits: Readings that needed no decoding.
        misses: Readings that decoded.
    """

    ram_bytes: int
    hits: int
    misses: int


class ImageCache:
    """Keeps decoded images while there is room and never evicts one; the others are decoded at each reading.

    Training reads a set round by round, each image once a round. Where the set does not fit, evicting the least
    recently used image would evict every image just before it is read again; images that stay give hits in every
    round. Safe to use from several threads; an image that several ask for at once is decoded once.

    Args:
        ram_bytes: Maximum bytes of images in memory.
    """

    def __init__(self, ram_bytes: int) -> None:
        self._free_ram_bytes = ram_bytes
        self._ram_bytes = 0
        self._kept: dict[Hashable, Sides] = {}
        self._decoding: dict[Hashable, Future[Sides]] = {}
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
        """Return the images of a key, decoded now or earlier.

        Args:
            key: Identity of the images.
            decode: Decodes them; called in this thread, and again at a later reading where there is no room.

        Returns:
            The result of `decode`, as read-only arrays.

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
        """Return the contents and use until now."""
        with self._lock:
            return CacheStats(ram_bytes=self._ram_bytes, hits=self._hits, misses=self._misses)

    def close(self) -> None:
        """Release all images. Arrays given out stay valid; images read afterwards are not kept."""
        with self._lock:
            self._closed = True
            self._kept.clear()
            self._free_ram_bytes = self._ram_bytes = 0

    def _keep(self, key: Hashable, sides: Sides) -> Sides:
        """Store the images if there is room, and make them read-only in any case."""
        need_bytes = sum(side.nbytes for side in sides if side is not None)
        with self._lock:
            fits = need_bytes <= self._free_ram_bytes and not self._closed
            if fits:
                self._free_ram_bytes -= need_bytes
                self._ram_bytes += need_bytes
        if fits:
            lr, hr = sides
            sides = (_without_base(lr) if lr is not None else None, _without_base(hr))
        for side in sides:
            if side is not None:
                side.setflags(write=False)
        if fits:
            with self._lock:
                if not self._closed:
                    self._kept[key] = sides
        return sides


def _without_base(image: Uint8Array) -> Uint8Array:
    """Copies an image that is a view of a larger one, which would stay in memory with it."""
    whole = image
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    return image.copy() if whole.nbytes > image.nbytes else image
