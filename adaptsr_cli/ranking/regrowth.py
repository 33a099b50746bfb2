"""What further ranks of a trained update would be worth. Pure Python: no torch, no files.

AdaLoRA (Zhang et al. 2023) takes ranks with small singular values away while it trains and gives them back elsewhere.
Between two trainings the same is a choice of ranks by the squared singular values of the updates. Taking away needs no
guess. For giving, the squared singular values of a site are continued at the pace at which they fall: where even the
smallest is large, the update would have used more ranks; where the last ones are nearly nothing, it would not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import median
from typing import Final

UNKNOWN_FALL: Final = 0.5
"""Fall from one squared singular value to the next where no update has two of them."""

_MAX_GROWTH: Final = 2  # times its ranks at most: further than that nobody can see


def gains_in_proportion(gains: Sequence[float], ratio: float, count: int) -> tuple[float, ...]:
    """Gains of ranks that pay for another number of ranks: the gains taken for a line between whole ranks.

    Args:
        gains: Of the ranks that are bought, never rising.
        ratio: How many of them one of the other pays for.
        count: For how many of the other.

    Returns:
        One gain for each of the other, never rising.
    """
    sums = [0.0, *accumulate(gains)]

    def total(place: float) -> float:
        whole = min(int(place), len(gains))
        return sums[whole] + (place - whole) * (gains[whole] if whole < len(gains) else 0.0)

    found = [total((place + 1) * ratio) - total(place * ratio) for place in range(count)]
    return tuple(accumulate((max(0.0, gain) for gain in found), min))  # but for rounding they do not rise already


def extended_gains(energies: Mapping[str, Sequence[float]], ranks: Mapping[str, int]) -> dict[str, tuple[float, ...]]:
    """What each rank of each site is worth: that of the trained ones is known, up to as many more are guessed.

    The fall from rank to rank of a site is the geometric mean of that between its trained ranks; a site of one rank
    takes the median of the others. An update that left ranks of its own unused is not continued.

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
