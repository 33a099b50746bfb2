"""Leave to decode damaged files as far as they go, which Pillow has for the whole process only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from PIL import ImageFile

_changed = Condition()
_inside = 0  # how many decode; -1: one alone, tolerantly


@contextmanager
def strictly() -> Iterator[None]:
    """Decode so that damage is an error, together with others who want that too."""
    global _inside
    with _changed:
        _changed.wait_for(lambda: _inside >= 0)
        _inside += 1
    try:
        yield
    finally:
        with _changed:
            _inside -= 1
            _changed.notify_all()


@contextmanager
def tolerantly() -> Iterator[None]:
    """Decode as far as the data go, alone: others must not miss the damage of their files."""
    global _inside
    with _changed:
        _changed.wait_for(lambda: _inside == 0)
        _inside = -1
    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before
        with _changed:
            _inside = 0
            _changed.notify_all()


def is_tolerant() -> bool:
    """Whether the decoding that goes on is to go on as far as it can."""
    return _inside < 0
