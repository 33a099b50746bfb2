"""Reading pairs as arrays, splitting a set, and telling whether data is the same as before."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from adaptsr_cli.data.degrade import Degradation, degrade
from adaptsr_cli.data.layouts import Pair, PairSet, Split
from adaptsr_cli.errors import DataError
from adaptsr_cli.io.images import image_size, read_rgb, resize_bicubic
from adaptsr_cli.units import plural

Array = np.ndarray[Any, np.dtype[np.uint8]]

_CHUNK_BYTES = 64 << 10


def file_fingerprint(path: Path) -> str:
    """A cheap identity of a file that survives moving and copying: its size, first and last 64 KiB, hashed.

    Returns:
        16 hexadecimal digits.

    Raises:
        DataError: The file cannot be read.
    """
    try:
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


def set_fingerprint(pairs: PairSet) -> str:
    """An identity of all files of a set and their pairing, whatever folder they lie in; 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for pair in sorted(pairs.pairs, key=lambda pair: pair.name):
        lr = file_fingerprint(pair.lr) if pair.lr else "-"
        digest.update(f"{pair.name}\n{lr}\n{file_fingerprint(pair.hr)}\n".encode())
    return digest.hexdigest()[:16]


def split_pairs(pairs: PairSet, *, share: float = 0.2, seed: int = 0) -> tuple[PairSet, PairSet]:
    """Holds out a share of the images, at least one, chosen by a hash of seed and name.

    The choice depends on the names only, not on their order or place.

    Args:
        pairs: What to split.
        share: How much is held out, in (0, 1).
        seed: Another seed holds out other images.

    Returns:
        (to train on, held out)

    Raises:
        DataError: There are not two pairs.
    """
    if len(pairs) < 2:
        raise DataError(
            f"{pairs.root} has only {plural(len(pairs), 'pair')}, so none can be held out for validation",
            "add pairs, or name a validation folder by --val",
        )
    count = min(len(pairs) - 1, max(1, round(share * len(pairs))))
    ordered = sorted(pairs.pairs, key=lambda pair: hashlib.sha256(f"{seed}:{pair.name}".encode()).digest())
    held_out = {pair.name for pair in ordered[:count]}

    def part(split: Split, *, held: bool) -> PairSet:
        return replace(pairs, split=split, pairs=tuple(p for p in pairs.pairs if (p.name in held_out) == held))

    return part("train", held=False), part("val", held=True)


class PairReader:
    """Reads pairs as arrays and keeps as many decoded as its share of memory allows.

    Pairs of one size are put on the LR grid: the LR side is taken at 1/scale by antialiased bicubic. Photographs
    get their LR side by degradation, the same at every reading. Safe to use from several threads.

    Args:
        pairs: What to read; `fit_scale` must have passed.
        scale: HR pixels per LR pixel.
        degradation: What makes the LR side of photographs; None where `pairs` have one.
        seed: Of the degradation.
        cache_bytes: How much memory decoded images may take; beyond it files are decoded again at each reading.

    Raises:
        DataError: Photographs without a degradation.
    """

    def __init__(
        self,
        pairs: PairSet,
        *,
        scale: int,
        degradation: Degradation | None = None,
        seed: int = 0,
        cache_bytes: int = 2 << 30,
    ) -> None:
        if pairs.ratio is None and degradation is None:
            raise DataError(
                f"{pairs.root} holds photographs without an LR side", "say by --degrade how the LR side is made"
            )
        self.pairs: Sequence[Pair] = pairs.pairs
        self.scale = scale
        self.degradation = degradation if pairs.ratio is None else None
        self._seed = seed % (1 << 64)  # NumPy takes no negative seeds
        self._ratio = pairs.ratio
        self._cache: dict[int, tuple[Array | None, Array]] = {}
        self._free_bytes = cache_bytes
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.pairs)

    def hr_size(self, index: int) -> tuple[int, int]:
        """(width_px, height_px) of the HR side as `read` gives it, from the headers alone."""
        pair = self.pairs[index]
        width, height = (length // self.scale for length in image_size(pair.hr))
        if pair.lr is not None:
            room = self.scale if self._ratio == 1 else 1
            lr_width, lr_height = (length // room for length in image_size(pair.lr))
            width, height = min(width, lr_width), min(height, lr_height)
        return width * self.scale, height * self.scale

    def read(self, index: int) -> tuple[Array, Array]:
        """One pair, trimmed at the right and bottom to whole LR pixels.

        Returns:
            lr: (h, w, 3) uint8.
            hr: (scale * h, scale * w, 3) uint8. Neither may be written to.

        Raises:
            ImageError: A file cannot be read.
            DataError: A side is smaller than one LR pixel.
        """
        lr, hr = self._load(index)
        if lr is None:
            assert self.degradation is not None
            lr = degrade(hr, self.scale, self.degradation, np.random.default_rng((self._seed, index)))
        return lr, hr

    def read_hr(self, index: int) -> Array:
        """The HR side as `read` gives it; spares photographs the degradation."""
        return self._load(index)[1]

    def _load(self, index: int) -> tuple[Array | None, Array]:
        with self._lock:
            kept = self._cache.get(index)
        if kept is not None:
            return kept
        lr, hr = self._decode(index)
        for side in (lr, hr):
            if side is not None:
                side.setflags(write=False)
        need = hr.nbytes + (lr.nbytes if lr is not None else 0)
        with self._lock:
            if index not in self._cache and need <= self._free_bytes:
                self._cache[index] = (lr, hr)
                self._free_bytes -= need
        return lr, hr

    def _decode(self, index: int) -> tuple[Array | None, Array]:
        pair, scale = self.pairs[index], self.scale
        hr = read_rgb(pair.hr)
        source = read_rgb(pair.lr) if pair.lr is not None else None
        height, width = hr.shape[0] // scale, hr.shape[1] // scale
        if source is not None:
            room = scale if self._ratio == 1 else 1
            height, width = min(height, source.shape[0] // room), min(width, source.shape[1] // room)
        if height < 1 or width < 1:
            raise DataError(f"{pair.hr} is smaller than {scale} x {scale} px", "leave it out")
        hr = np.ascontiguousarray(hr[: height * scale, : width * scale])
        if source is None:
            return None, hr
        if self._ratio == 1:
            return resize_bicubic(source[: height * scale, : width * scale], width, height), hr
        return np.ascontiguousarray(source[:height, :width]), hr
