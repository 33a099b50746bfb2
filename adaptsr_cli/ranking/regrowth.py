"""Estimated gains of further ranks of a trained update. Pure Python: no torch, no files.

AdaLoRA (Zhang et al. 2023) removes ranks with small singular values while it trains and adds ranks elsewhere. Here the
same is done between two trainings: `adaptsr reallocate` chooses the ranks of the next one by the squared singular
values of the trained updates (their energies). For removing ranks these are known. For adding ranks they are
extrapolated: the energies of a site are continued by the factor at which they fall. Where even the smallest one is
large, the update would have used more ranks; where the last ones are nearly zero, it would not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import median
from typing import Final

UNKNOWN_FALL: Final = 0.5
"""Ratio of one squared singular value to the one before it, where no update has two of them to tell."""

_MAX_GROWTH: Final = 2  # a site gets at most so many times its ranks: a longer extrapolation would be a guess


def gains_in_proportion(gains: Sequence[float], ratio: float, count: int) -> tuple[float, ...]:
    """Convert gains of an adapter's own ranks to gains of planned ranks, which pay for another number of them.

    A rank map plans in ranks of 1x1-kxk, and a rank of another factorisation has another cost, so that one planned rank
    pays for `ratio` own ranks, which need not be a whole number. The gains are interpolated linearly between whole
    ranks.

    Args:
        gains: Of the own ranks, never rising.
        ratio: Own ranks that one planned rank pays for.
        count: Number of planned ranks.

    Returns:
        One gain for each planned rank, never rising.
    """
    sums = [0.0, *accumulate(gains)]

    def gain_up_to(rank: float) -> float:
        whole = min(int(rank), len(gains))
        return sums[whole] + (rank - whole) * (gains[whole] if whole < len(gains) else 0.0)

    found = [gain_up_to((place + 1) * ratio) - gain_up_to(place * ratio) for place in range(count)]
    return tuple(accumulate((max(0.0, gain) for gain in found), min))  # only rounding can make them rise


def extended_gains(energies: Mapping[str, Sequence[float]], ranks: Mapping[str, int]) -> dict[str, tuple[float, ...]]:
    """Compute the gain of every rank of every site: known for the trained ranks, extrapolated for as many more.

    The ratio from one rank to the next is the geometric mean of the ratios between the site's trained ranks; a site of
    one rank takes the median ratio of the others. An update that left ranks of its own unused is not extrapolated.

    Args:
        energies: Squared singular values of the updates, descending and positive, by site name.
        ranks: The ranks with which they were trained.

    Returns:
        Gains by site name, never rising; none for an update of zero.
    """
    falls = {
        name: (values[-1] / values[0]) ** (1 / (len(values) - 1))
        for name, values in energies.items()
        if len(values) > 1
    }
    usual = median(falls.values()) if falls else UNKNOWN_FALL
    gains = {}
    for name, values in energies.items():
        rank, fall = ranks[name], falls.get(name, usual)
        guessed = (_MAX_GROWTH - 1) * rank if values and len(values) >= rank else 0
        gains[name] = (*values, *(values[-1] * fall ** (place + 1) for place in range(guessed)))
    return gains
