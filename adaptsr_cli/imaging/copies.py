"""Copies among photographs: again, a crop, mirrored, turned, re-encoded or rescaled, found by their sketches.

Features with like codes vote for a scale and a shift between two photographs; where several agree, the pixels decide:
the details of both, laid over each other, must correlate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from adaptsr_cli.arrays import Float32Array, FloatArray, Int64Array
from adaptsr_cli.imaging.sketch import BITS, ORIENTATIONS, Codes, Orientation, Sketch

_PARTS: Final = 3  # of a code, one of which must agree for two features to be compared
_PART_BITS: Final = BITS // _PARTS
_MOST_WRONG_BITS: Final = 8
_MOST_OF_A_KIND: Final = 60  # features with one part in common that each feature is compared with
_LEAST_VOTES: Final = 3
_SURE_VOTES: Final = 5
_MOST_TRIED: Final = 24  # matches whose scale and shift are tried
_LEAST_MATCH: Final = 0.6  # correlation of details; of different photographs laid over each other it is 0.4 and less
_LEAST_MATCH_OF_FEW: Final = 0.8  # where fewer features agree than are sure, which may be by chance
_LEAST_OVERLAP_PX: Final = 24
_BAND_PX: Final = (1.0, 4.0)
_LEAST_DETAIL: Final = 0.5  # grey levels


@dataclass(frozen=True)
class Copy:
    """Two photographs that show the same picture, or parts of it.

    Attributes:
        first: Place of the one in the list.
        second: Place of the other, larger than `first`.
        orientation: How the second one has to lie to show what the first one shows.
        share: How much of the smaller one both show, in (0, 1].
        match: Correlation of the details there.
    """

    first: int
    second: int
    orientation: Orientation
    share: float
    match: float


@dataclass(frozen=True)
class _Mapping:
    """y2 = scale * y1 + down, x2 = scale * x1 + across, of places in reduced photographs, the second one oriented."""

    scale_y: float
    scale_x: float
    down: float
    across: float
    votes: int


def find_copies(
    sketches: Sequence[Sketch],
    read: Callable[[int], Float32Array],
    wanted: Callable[[int, int], bool] = lambda first, second: True,
) -> Iterator[Copy]:
    """Pairs of photographs that show the same picture or overlap by a good part of it, one after another.

    Of hundreds of copies of one picture not every pair is found, but enough to link them all.

    Args:
        sketches: Of the photographs.
        read: Gives the reduced luma of one of them (`reduce_photograph`), for the few that are looked at closely.
        wanted: Whether a pair matters, by their places; asked just before it is looked at, so that what was found
            already may decide.
    """
    if len(sketches) < 2:
        return
    found: set[tuple[int, int]] = set()
    index = _Index(sketches)
    for orientation in ORIENTATIONS:
        for (first, second), matches in sorted(index.candidates(orientation).items()):
            if (first, second) in found or not wanted(first, second):
                continue
            copy = _verify(sketches, first, second, matches, orientation, read)
            if copy is not None:
                found.add((first, second))
                yield copy


class _Index:
    """The features of all photographs, found by parts of their codes."""

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        self._codes: Codes = np.concatenate([sketch.codes for sketch in sketches])
        counts = [len(sketch.codes) for sketch in sketches]
        self._owner = np.repeat(np.arange(len(sketches)), counts)
        self._rank = np.concatenate([np.arange(count) for count in counts])
        self._is_whole = self._rank == 0

    def candidates(self, orientation: Orientation) -> dict[tuple[int, int], Int64Array]:
        """Pairs of photographs -> the features that match, (matches, 2): ranks in both; the second one is oriented."""
        oriented = orientation.of_codes(self._codes)
        count = len(self._codes)
        pairs: list[Int64Array] = []  # of two features, as one number each, which is sorted far faster
        for part in range(_PARTS):
            for left, right in self._alike(oriented, part):
                near = np.bitwise_count(self._codes[left] ^ oriented[right]) <= _MOST_WRONG_BITS
                # A mirrored mirror image is the photograph itself, so either may come first; of a quarter turn the
                # other way round is another orientation.
                own, other = self._owner[left], self._owner[right]
                near &= own != other if orientation.is_own_inverse else own < other
                near &= self._is_whole[left] == self._is_whole[right]
                one, two = left[near], right[near]
                pairs.append(np.minimum(one, two) * count + np.maximum(one, two))
        first, second = np.divmod(np.unique(np.concatenate(pairs)), count)
        owners = self._owner[first] * count + self._owner[second]
        order = np.argsort(owners, kind="stable")
        ranks = np.stack([self._rank[first], self._rank[second]], axis=1)[order]
        keys, starts = np.unique(owners[order], return_index=True)
        stops = np.append(starts, len(ranks))[1:]
        groups = {
            (int(key // count), int(key % count)): ranks[start:stop]
            for key, start, stop in zip(keys, starts, stops, strict=True)
        }
        return {
            key: group for key, group in groups.items() if len(group) >= _LEAST_VOTES or (group == 0).all(axis=1).any()
        }

    def _alike(self, oriented: Codes, part: int) -> Iterator[tuple[Int64Array, Int64Array]]:
        """Features whose codes agree in a part, a block at a time; of parts that very many share, the first ones."""
        shift, mask = np.uint64(part * _PART_BITS), np.uint64((1 << _PART_BITS) - 1)
        keys, theirs = (self._codes >> shift) & mask, (oriented >> shift) & mask
        order = np.argsort(theirs, kind="stable")
        ordered = theirs[order]
        starts, stops = np.searchsorted(ordered, keys, "left"), np.searchsorted(ordered, keys, "right")
        counts = np.minimum(stops - starts, _MOST_OF_A_KIND)
        block = 1 << 16
        for begin in range(0, len(keys), block):
            part_counts = counts[begin : begin + block]
            left = np.repeat(np.arange(begin, begin + len(part_counts)), part_counts)
            within = np.arange(len(left)) - np.repeat(np.cumsum(part_counts) - part_counts, part_counts)
            yield left, order[starts[left] + within]


def _verify(
    sketches: Sequence[Sketch],
    first: int,
    second: int,
    matches: Int64Array,
    orientation: Orientation,
    read: Callable[[int], Float32Array],
) -> Copy | None:
    """The copy if the matches agree on a mapping and the pixels confirm it."""
    one, two = sketches[first], sketches[second].oriented(orientation)
    mappings = []
    if (matches == 0).all(axis=1).any():
        mappings.append(_Mapping(two.height_px / one.height_px, two.width_px / one.width_px, 0.0, 0.0, _SURE_VOTES))
    mapping = _agree(one, two, matches[(matches > 0).all(axis=1)])
    mappings += [mapping] if mapping is not None else []
    for mapping in mappings:
        match, share = _compare(read(first), orientation.of_image(read(second)), mapping)
        if match >= (_LEAST_MATCH if mapping.votes >= _SURE_VOTES else _LEAST_MATCH_OF_FEW):
            return Copy(first, second, orientation, share, round(match, 3))
    return None


def _agree(one: Sketch, two: Sketch, matches: Int64Array) -> _Mapping | None:
    """The scale and shift that most matches agree on; None where they are too few."""
    if len(matches) < _LEAST_VOTES:
        return None
    a, b = one.places[matches[:, 0]], two.places[matches[:, 1]]
    scale = b[:, 2] / a[:, 2]
    tolerance = 2.0 * b[:, 2]
    best: FloatArray = np.zeros(len(matches), bool)
    for trial in range(min(len(matches), _MOST_TRIED)):
        down, across = b[trial, :2] - scale[trial] * a[trial, :2]
        off = np.hypot(
            scale[trial] * a[:, 0] + down - b[:, 0],
            scale[trial] * a[:, 1] + across - b[:, 1],
        )
        # The scale of a lone feature is coarse, so what lies far from it is off by a share of the distance too.
        reach = 0.15 * np.hypot(*(b[:, :2] - b[trial, :2]).T)
        near = (off < tolerance + reach) & (np.abs(np.log2(scale / scale[trial])) < 0.5)
        if _distinct(a, b, near) > _distinct(a, b, best):
            best = near
    for _ in range(2):
        if _distinct(a, b, best) < _LEAST_VOTES:
            return None
        mapping = _fit(a[best], b[best], _distinct(a, b, best))
        if mapping is None:
            return None
        off = np.hypot(
            mapping.scale_y * a[:, 0] + mapping.down - b[:, 0], mapping.scale_x * a[:, 1] + mapping.across - b[:, 1]
        )
        best = off < tolerance
    return mapping if _distinct(a, b, best) >= _LEAST_VOTES else None


def _distinct(a: Float32Array, b: Float32Array, near: FloatArray) -> int:
    """How many features of either side agree, each counted once."""
    return min(len(np.unique(np.rint(side[near, :2]), axis=0)) for side in (a, b)) if near.any() else 0


def _fit(a: Float32Array, b: Float32Array, votes: int) -> _Mapping | None:
    """One scale and a shift by least squares; None where all features lie on one spot."""
    centre_a, centre_b = a[:, :2].mean(axis=0), b[:, :2].mean(axis=0)
    from_a, from_b = a[:, :2] - centre_a, b[:, :2] - centre_b
    spread = float((from_a**2).sum())
    if spread < 1.0:
        return None
    scale = float((from_a * from_b).sum()) / spread
    if not 0.05 < scale < 20.0:
        return None
    down, across = centre_b - scale * centre_a
    return _Mapping(scale, scale, float(down), float(across), votes)


def _compare(one: Float32Array, two: Float32Array, mapping: _Mapping) -> tuple[float, float]:
    """Correlation of the details where both show the same thing, and the share of the smaller one that this is.

    Both are put on the coarser grid, so that neither has details that the other cannot have.
    """
    grid = max(1.0, 1 / min(mapping.scale_y, mapping.scale_x))  # px of the first one per sample
    top, left = max(0.0, -mapping.down / mapping.scale_y), max(0.0, -mapping.across / mapping.scale_x)
    bottom = min(one.shape[0] - 1.0, (two.shape[0] - 1 - mapping.down) / mapping.scale_y)
    right = min(one.shape[1] - 1.0, (two.shape[1] - 1 - mapping.across) / mapping.scale_x)
    rows, columns = np.arange(top, bottom, grid), np.arange(left, right, grid)
    if min(len(rows), len(columns)) < _LEAST_OVERLAP_PX:
        return 0.0, 0.0
    y, x = np.meshgrid(rows, columns, indexing="ij")
    first = _sample(one, y, x, grid)
    there = mapping.scale_y * y + mapping.down, mapping.scale_x * x + mapping.across
    second = _sample(two, *there, grid * mapping.scale_y)
    match = _correlate(_details(first), _details(second))
    area = (bottom - top) * (right - left)
    smaller = min(one.size, two.size / (mapping.scale_y * mapping.scale_x))
    return match, min(1.0, area / smaller)


def _sample(grey: Float32Array, y: FloatArray, x: FloatArray, spacing: float) -> Float32Array:
    """The photograph at these places, blurred as wide spacing demands."""
    if spacing > 1.2:
        grey = gaussian_filter(grey, 0.5 * (spacing**2 - 1) ** 0.5, mode="nearest")
    return np.asarray(map_coordinates(grey, np.stack([y, x]), order=1, mode="nearest"), np.float32)


def _details(grey: Float32Array) -> Float32Array:
    fine, coarse = (gaussian_filter(grey, sigma, mode="nearest") for sigma in _BAND_PX)
    return np.asarray(fine - coarse, np.float32)


def _correlate(one: Float32Array, two: Float32Array) -> float:
    """Pearson's correlation; 0 where one of them is flat."""
    one, two = one - one.mean(), two - two.mean()
    if min(one.std(), two.std()) < _LEAST_DETAIL:
        return 0.0
    return float((one * two).mean() / (one.std() * two.std()))
