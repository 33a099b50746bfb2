"""Faults of image files as one line that names the file, and the limit on their pixels."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image

from adaptsr_cli.errors import AdaptsrError, DamagedImageError, ImageError
from adaptsr_cli.io.file_kinds import require_regular

MAX_PIXELS: Final = 1 << 30
"""Most pixels that are decoded, of all pages or frames together: 32768 x 32768 px, 3 GiB as 8-bit RGB."""

INSTALL_IMAGES: Final = "pip install 'adaptsr[images]'"
"""What installs the libraries that only some formats need."""

_limit_lock: Final = threading.Lock()
_limit_lifted_blocks = 0  # how many blocks of `pixel_limit_lifted` are open in all threads
_pillows_limit: int | None = None  # what it was before the first of them


@contextmanager
def pixel_limit_lifted() -> Iterator[None]:
    """Lifts Pillow's own limit within this block; `MAX_PIXELS` is checked in its place.

    Pillow warns already at 89 megapixels, which is a legitimate panorama here. The limit is one of the whole process:
    the first of several blocks that are open at once, nested or in threads, lifts it, and the last puts it back.
    """
    global _limit_lifted_blocks, _pillows_limit
    with _limit_lock:
        if _limit_lifted_blocks == 0:
            _pillows_limit = Image.MAX_IMAGE_PIXELS
            Image.MAX_IMAGE_PIXELS = None
        _limit_lifted_blocks += 1
    try:
        yield
    finally:
        with _limit_lock:
            _limit_lifted_blocks -= 1
            if _limit_lifted_blocks == 0:
                Image.MAX_IMAGE_PIXELS = _pillows_limit


@contextmanager
def faults(path: Path, kind: str = "") -> Iterator[None]:
    """Turn whatever a decoder raises on a bad file into one line that names the file; lifts Pillow's pixel limit.

    Args:
        path: The file.
        kind: What its content says that it is, such as ``HEIC``.
    """
    try:
        require_regular(path)
        with pixel_limit_lifted():
            yield
    except AdaptsrError:
        raise
    except MemoryError as error:
        raise ImageError(f"not enough memory to decode {path}", "free some, or cut the picture") from error
    except Exception as error:
        # Each of the parsers raises what it happened to trip over: OSError, SyntaxError, struct.error ...
        if "'imagecodecs' package" in str(error):  # said by tifffile of the compressions that need it
            raise ImageError(f"cannot read {path}: {error}", INSTALL_IMAGES) from error
        name = f"{path} as {kind}" if kind else f"{path}"
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(f"cannot read {name}: {error.strerror}", "replace the file or leave it out") from error
        raise damaged(name, str(error)) from error


def damaged(name: str | Path, fault: str) -> DamagedImageError:
    """Make the error of a file that is damaged.

    Args:
        name: What to call it.
        fault: What is wrong with it.
    """
    return DamagedImageError(
        f"cannot read {name}: damaged or truncated ({fault})", "replace the file or leave it out", fault=fault
    )


def check_pixels(pixels: int, path: Path) -> None:
    """Refuse a file of more than `MAX_PIXELS`.

    Raises:
        ImageError: It has more.
    """
    if pixels > MAX_PIXELS:
        raise ImageError(
            f"cannot read {path}: {pixels:,} pixels are more than {MAX_PIXELS:,} pixels",
            "cut the picture into parts",
        )
