"""Mixture of several sets, read as one and drawn from by exact shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm
from pathlib import Path
from typing import Final

import numpy as np

from adaptsr_cli.arrays import Int64Array, Uint8Array
from adaptsr_cli.data.layouts import Pair, PairSet
from adaptsr_cli.data.pairs import PairReader
from adaptsr_cli.units import plural, readable

# Keep the streams of random numbers apart that are derived from one seed; the sampler's own is 3.
_SOURCE_STREAM = 1
_IMAGE_STREAM = 2

PHOTOGRAPHS_SHARE: Final = 0.5
"""Of the crops, what photographs get that are degraded as the real pairs beside them are."""


def count_draws(weights: Sequence[float | None], sizes: Sequence[int]) -> tuple[int, ...]:
    """Counts the crops that each source gives to a block of crops, exactly.

    With no weight at all every image is as likely as any other, as if the sets were one. As soon as one has a weight,
    the weights are shares of the crops, and a missing one counts 1.

    Args:
        weights: Of the sources, with at most three decimals.
        sizes: Numbers of their images.

    Returns:
        Positive numbers without a common divisor where weights are given; else `sizes`.
    """
    if all(weight is None for weight in weights):
        return tuple(sizes)
    shares = [Fraction(1 if weight is None else weight).limit_denominator(1000) for weight in weights]
    whole = [int(share * lcm(*(share.denominator for share in shares))) for share in shares]
    return tuple(count // gcd(*whole) for count in whole)


def balance(sets: Sequence[PairSet]) -> tuple[PairSet, ...]:
    """Give photographs a fixed share of the crops beside real pairs, however many there are of either.

    The sets of one kind share by their numbers of images. Weights that the user has given are left as they are.

    Returns:
        The sets in their order, each with a weight; as they were where there is one kind only.
    """
    photos, pairs = (sum(len(part) for part in sets if (part.ratio is None) is kind) for kind in (True, False))
    if not photos or not pairs or any(part.weight is not None for part in sets):
        return tuple(sets)
    shares = [
        PHOTOGRAPHS_SHARE * len(part) / photos if part.ratio is None else (1 - PHOTOGRAPHS_SHARE) * len(part) / pairs
        for part in sets
    ]
    # Three decimals, so that a block of draws is never longer than a thousand.
    return tuple(replace(part, weight=max(0.001, round(share, 3))) for part, share in zip(sets, shares, strict=True))


def describe_mix(sets: Sequence[PairSet]) -> str:
    """Describe the shares of the sets: ``mix: a 77 % (200 pairs), b 23 % (34 photos)``."""
    draws_per_block = count_draws([pairs.weight for pairs in sets], [len(pairs) for pairs in sets])
    parts = [
        f"{label} {count / sum(draws_per_block):.0%} ({plural(len(pairs), 'photo' if pairs.ratio is None else 'pair')})"
        for label, count, pairs in zip(label_sets(sets), draws_per_block, sets, strict=True)
    ]
    return f"mix: {', '.join(parts)}".replace("%", " %")


def label_sets(sets: Sequence[PairSet]) -> tuple[str, ...]:
    """Names each set by as many of its last folders as it takes to make all names different."""
    parts = [Path(readable(pairs.root.resolve())).parts for pairs in sets]
    for depth in range(1, max(map(len, parts), default=0) + 1):
        labels = ["/".join(part.strip("/\\") for part in folder[-depth:]) for folder in parts]
        if len(set(labels)) == len(labels):
            return tuple(labels)
    return tuple(f"{number}" for number in range(1, len(sets) + 1))


def name_faults(sets: Sequence[PairSet]) -> tuple[tuple[str, str], ...]:
    """List the pairs of all sets that cannot be used, named as by `name_pairs`, each with what is wrong."""
    if len(sets) == 1:
        return sets[0].faults
    labelled = zip(label_sets(sets), sets, strict=True)
    return tuple((f"{label}/{name}", reason) for label, pairs in labelled for name, reason in pairs.faults)


def name_pairs(sets: Sequence[PairSet]) -> tuple[Pair, ...]:
    """List the pairs of all sets; with several sets, each name is prefixed by the label of its set."""
    if len(sets) == 1:
        return sets[0].pairs
    return tuple(
        replace(pair, name=f"{label}/{pair.name}")
        for label, pairs in zip(label_sets(sets), sets, strict=True)
        for pair in pairs.pairs
    )


class Mixture:
    """Several readers as one, and the order in which a training draws from them.

    Which image the d-th crop is cut from is a pure function of the seed and d. In every block of as many crops as
    `count_draws` adds up to, each source comes exactly as often as counted, and each source's images come once in its
    own round.

    Args:
        readers: The sources, at least one, all of one scale.
        sets: The sets that they read, in the same order; None for a lone reader whose names do not matter.
    """

    def __init__(self, readers: Sequence[PairReader], sets: Sequence[PairSet] | None = None) -> None:
        self.readers = tuple(readers)
        self.scale = self.readers[0].scale
        sizes = [len(reader) for reader in self.readers]
        weights = [None] * len(sizes) if sets is None else [pairs.weight for pairs in sets]
        self.pairs: tuple[Pair, ...] = (
            tuple(pair for reader in self.readers for pair in reader.pairs) if sets is None else name_pairs(sets)
        )
        self._starts = np.cumsum([0, *sizes])
        self._draws_per_block = count_draws(weights, sizes)
        # Per instance, so that readers die with it. Two entries a source: batches straddle the end of a round.
        self._block_of = lru_cache(4)(self._draw_block)
        self._round_of = lru_cache(4 * len(sizes))(self._draw_round)

    def __len__(self) -> int:
        return len(self.pairs)

    def locate(self, index: int) -> tuple[PairReader, int]:
        """The reader that holds the image `index` of the whole, and its place there."""
        source = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.readers[source], index - int(self._starts[source])

    def read(self, index: int) -> tuple[Uint8Array, Uint8Array]:
        """One pair, as `PairReader.read`."""
        reader, place = self.locate(index)
        return reader.read(place)

    def hr_size(self, index: int) -> tuple[int, int]:
        """(width_px, height_px) of the HR side, from the headers alone."""
        reader, place = self.locate(index)
        return reader.hr_size(place)

    def draw(self, seed: int, draw: int) -> int:
        """Which image of the whole the `draw`-th crop of a training is cut from.

        Args:
            seed: In [0, 2^64).
            draw: 0 or more.
        """
        block, place = divmod(draw, sum(self._draws_per_block))
        sources, ranks = self._block_of(seed, block)
        source = int(sources[place])
        nth = block * self._draws_per_block[source] + int(ranks[place])
        round_, place = divmod(nth, len(self.readers[source]))
        return int(self._starts[source]) + int(self._round_of(seed, source, round_)[place])

    def _draw_block(self, seed: int, block: int) -> tuple[Int64Array, Int64Array]:
        """Draw the source of every crop of a block, and number the crops of each source within the block."""
        sources = np.repeat(np.arange(len(self._draws_per_block)), self._draws_per_block)
        if len(self._draws_per_block) > 1:
            np.random.default_rng((_SOURCE_STREAM, seed, block)).shuffle(sources)
        ranks = np.empty_like(sources)
        for source, count in enumerate(self._draws_per_block):
            ranks[sources == source] = np.arange(count)
        return sources, ranks

    def _draw_round(self, seed: int, source: int, round_: int) -> Int64Array:
        """The order of a source's images in one of its rounds."""
        rng = np.random.default_rng((_IMAGE_STREAM, seed, source, round_))
        return rng.permutation(len(self.readers[source]))
