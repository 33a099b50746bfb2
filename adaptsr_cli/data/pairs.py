"""Pairs as arrays, and fingerprints that tell whether data has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adaptsr_cli.arrays import Uint8Array
from adaptsr_cli.artifacts.degradation import Degradation
from adaptsr_cli.data.cache import ImageCache
from adaptsr_cli.data.layouts import Pair, PairSet
from adaptsr_cli.errors import DataError
from adaptsr_cli.imaging.degrade import degrade
from adaptsr_cli.io.hashing import file_fingerprint
from adaptsr_cli.io.images import image_size, read_rgb, resize_bicubic


def pair_fingerprints(pair: Pair) -> tuple[str | None, str]:
    """Return the fingerprints of both files, as checked or else by reading; None for the LR side of a photo.

    Raises:
        DataError: A file cannot be read.
    """
    if pair.facts is not None:
        return pair.facts.lr_print, pair.facts.hr_print
    return (file_fingerprint(pair.lr) if pair.lr is not None else None), file_fingerprint(pair.hr)


def set_fingerprint(pairs: PairSet) -> str:
    """Return an identity of a set's files, pairing and shifts, whatever folder they lie in; 16 hex digits."""
    digest = hashlib.sha256()
    for pair in sorted(pairs.pairs, key=lambda pair: pair.name):
        lr, hr = pair_fingerprints(pair)
        shift = "" if pair.shift == (0, 0) else f"{pair.shift}\n"
        digest.update(f"{pair.name}\n{lr or '-'}\n{hr}\n{shift}".encode())
    return digest.hexdigest()[:16]


class PairReader:
    """Reads pairs as arrays and keeps as many decoded as its share of memory allows.

    Pairs of one size are put on the LR grid: the LR side is taken at 1/scale by antialiased bicubic. Photographs
    get their LR side by degradation, the same at every reading. Safe to use from several threads.

    Args:
        pairs: What to read; `fit_scale` must have passed.
        scale: HR pixels per LR pixel.
        degradation: What makes the LR side of photographs; None where `pairs` have one.
        seed: Of the degradation.
        cache: Where decoded images are kept; None for one of 2 GiB of memory.

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
        cache: ImageCache | None = None,
    ) -> None:
        if pairs.ratio is None and degradation is None:
            raise DataError(
                f"{pairs.root} holds photographs without an LR side", "say by `degrade` how the LR side is made"
            )
        self.pairs: Sequence[Pair] = pairs.pairs
        self.scale = scale
        self.degradation = degradation if pairs.ratio is None else None
        self._seed = seed % (1 << 64)  # NumPy takes no negative seeds
        self._ratio = pairs.ratio
        self._cache = cache or ImageCache(2 << 30)

    def __len__(self) -> int:
        return len(self.pairs)

    def hr_size(self, index: int) -> tuple[int, int]:
        """(width_px, height_px) of the HR side as `read` gives it, as checked, else from the headers alone."""
        pair = self.pairs[index]
        hr_width, hr_height = pair.facts.hr_px if pair.facts else image_size(pair.hr)
        lr_width: int | None = None
        lr_height: int | None = None
        if pair.lr is not None:
            lr_width, lr_height = pair.facts.lr_px if pair.facts else image_size(pair.lr)
        height = self._overlap(hr_height, lr_height, pair.shift[0]).lr_length
        width = self._overlap(hr_width, lr_width, pair.shift[1]).lr_length
        return width * self.scale, height * self.scale

    def read(self, index: int) -> tuple[Uint8Array, Uint8Array]:
        """One pair, its shift put right, trimmed at the right and bottom to whole LR pixels.

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

    def read_hr(self, index: int) -> Uint8Array:
        """The HR side as `read` gives it; spares photographs the degradation."""
        return self._load(index)[1]

    def _load(self, index: int) -> tuple[Uint8Array | None, Uint8Array]:
        pair = self.pairs[index]
        # Whatever decides what `_decode` makes of the files.
        key = (pair.lr, pair.hr, pair.shift, self._ratio, self.scale)
        return self._cache.get(key, lambda: self._decode(index))

    def _decode(self, index: int) -> tuple[Uint8Array | None, Uint8Array]:
        pair, scale = self.pairs[index], self.scale
        hr = read_rgb(pair.hr)
        source = read_rgb(pair.lr) if pair.lr is not None else None
        lr_height, lr_width = source.shape[:2] if source is not None else (None, None)
        rows = self._overlap(hr.shape[0], lr_height, pair.shift[0])
        columns = self._overlap(hr.shape[1], lr_width, pair.shift[1])
        height, width = rows.lr_length, columns.lr_length
        if height < 1 or width < 1:
            raise DataError(f"{pair.hr} is smaller than {scale} x {scale} px", "leave it out")
        hr = _crop(hr, rows.hr_start, columns.hr_start, height * scale, width * scale)
        if source is None:
            return None, hr
        if self._ratio == 1:
            same_size = _crop(source, rows.lr_start, columns.lr_start, height * scale, width * scale)
            return resize_bicubic(same_size, width, height), hr
        return _crop(source, rows.lr_start, columns.lr_start, height, width), hr

    def _overlap(self, hr_length: int, lr_length: int | None, shift: int) -> _Overlap:
        """Find what both sides show along one axis, in whole LR pixels, once the shift is put right.

        Pairs of one size are shifted by whole pixels of the files, before the LR side is taken at 1/scale: that is
        finer than the LR grid.
        """
        if lr_length is None:
            return _Overlap(0, 0, hr_length // self.scale)
        lr_start = max(0, shift)
        hr_start = max(0, -shift) * (1 if self._ratio == 1 else self.scale)
        room = self.scale if self._ratio == 1 else 1
        return _Overlap(lr_start, hr_start, min((hr_length - hr_start) // self.scale, (lr_length - lr_start) // room))


@dataclass(frozen=True)
class _Overlap:
    """Along one axis: where each file's part begins, in pixels of that file, and its length in LR pixels."""

    lr_start: int
    hr_start: int
    lr_length: int


def _crop(image: Uint8Array, top: int, left: int, height: int, width: int) -> Uint8Array:
    return np.ascontiguousarray(image[top : top + height, left : left + width])
