"""Leaks between the parts of data: images that show the same picture, whatever they are called and however stored."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from adaptsr_cli.arrays import Float32Array
from adaptsr_cli.data.layouts import Pair
from adaptsr_cli.data.pairs import pair_fingerprints
from adaptsr_cli.errors import AdaptsrError
from adaptsr_cli.imaging.copies import Copy, find_copies
from adaptsr_cli.imaging.sketch import Sketch, make_sketch, reduce_photograph
from adaptsr_cli.io.atomic import write_bytes
from adaptsr_cli.io.cache_folder import cache_dir
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.progress import Progress

_HEAD: Final = struct.Struct("<16sI")  # fingerprint of the image and length of its sketch
_KEPT_PHOTOGRAPHS: Final = 64


@dataclass(frozen=True)
class Link:
    """Two images that show the same picture or parts of it.

    Attributes:
        first: The one.
        second: The other.
        how: In words: ``the same file``, ``a copy``, ``overlaps by 40 %`` ...
    """

    first: Pair
    second: Pair
    how: str


def find_links(pairs: Sequence[Pair], progress: Progress, wanted: Callable[[int, int], bool]) -> Iterator[Link]:
    """The images that show the same picture, by their HR sides: copies, crops, mirrored, turned and rescaled ones.

    Args:
        pairs: The images, as checked.
        progress: Shows how far the work is.
        wanted: Whether a pair of images matters, by their places; asked just before it is looked at.

    Raises:
        ImageError: A file cannot be read.
    """
    sketches = sketch_images(pairs, progress)
    seen: dict[str, int] = {}
    for place, pair in enumerate(pairs):
        before = seen.setdefault(pair_fingerprints(pair)[1], place)
        if before != place and wanted(before, place):
            yield Link(pairs[before], pair, "the same file")

    @lru_cache(_KEPT_PHOTOGRAPHS)
    def read(place: int) -> Float32Array:
        return reduce_photograph(read_rgb(pairs[place].hr))

    for copy in find_copies(sketches, read, wanted):
        yield Link(pairs[copy.first], pairs[copy.second], _describe(copy))


def _describe(copy: Copy) -> str:
    text = "a copy" if copy.share > 0.95 else f"overlaps by {copy.share:.0%}".replace("%", " %")
    if copy.orientation.is_mirrored:
        return f"{text}, mirrored"
    return f"{text}, turned" if copy.orientation.is_turned else text


def sketch_images(pairs: Sequence[Pair], progress: Progress) -> list[Sketch]:
    """The sketches of the HR sides, from the cache folder where the images are known.

    Raises:
        ImageError: A file cannot be read.
    """
    prints = [pair_fingerprints(pair)[1] for pair in pairs]
    place = _cache_place(pairs)
    known = _read_cache(place)
    missing = [index for index, print_ in enumerate(prints) if print_ not in known]
    if not missing:
        return [known[print_] for print_ in prints]
    workers = max(1, min(8, os.cpu_count() or 1))
    with progress.task("looking for copies", len(missing), unit="image") as task, ThreadPoolExecutor(workers) as pool:
        try:
            for index, sketch in zip(missing, pool.map(lambda at: _sketch(pairs[at].hr), missing), strict=True):
                known[prints[index]] = sketch
                task.advance()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # Ctrl-C must not wait for thousands of images
            _write_cache(place, {print_: known[print_] for print_ in prints if print_ in known}, progress)
    return [known[print_] for print_ in prints]


def _sketch(path: Path) -> Sketch:
    return make_sketch(read_rgb(path))


def _cache_place(pairs: Sequence[Pair]) -> Path:
    folders = sorted({str(pair.hr.parent.resolve()) for pair in pairs})
    name = sha256("\n".join(folders).encode(errors="surrogateescape")).hexdigest()[:16]
    return cache_dir() / "sketches" / f"{name}.bin"


def _read_cache(place: Path) -> dict[str, Sketch]:
    """The sketches that are known by fingerprint; what is damaged or of another version is made again."""
    try:
        data = place.read_bytes()
    except OSError:
        return {}
    known: dict[str, Sketch] = {}
    at = 0
    while at + _HEAD.size <= len(data):
        print_, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        sketch = Sketch.from_bytes(data[at : at + length])
        if sketch is not None:
            known[print_.decode("ascii", "replace")] = sketch
        at += length
    return known


def _write_cache(place: Path, known: Mapping[str, Sketch], progress: Progress) -> None:
    parts = [(print_, sketch.to_bytes()) for print_, sketch in known.items()]
    try:
        write_bytes(place, b"".join(_HEAD.pack(print_.encode(), len(data)) + data for print_, data in parts))
    except AdaptsrError as error:
        progress.warn(f"the images will be looked at for copies again next time: {error.message}")
