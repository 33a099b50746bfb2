"""Spending a budget where it buys most first-order loss: an exact knapsack. Pure Python: no torch, no files.

The first step along the gradient G lowers the loss in proportion to the squared length of what the adapter can follow
of G. A rank-r adapter follows its r leading singular directions, so rank r + 1 gains sigma_{r+1}^2 for the site's cost
of one rank. Gains that fall from rank to rank make the best choice a knapsack of single ranks, each site's best first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from adaptsr_cli.ranking.allocation import AllocationSite, begin_at


def signal_gains(spectrum: Sequence[float], noise: Sequence[float]) -> tuple[float, ...]:
    """Squared singular values of a mean gradient without what the noise of the batches adds to them.

    Args:
        spectrum: Singular values of the mean over all batches, descending.
        noise: Singular values of a matrix that holds only the noise of that mean, descending; empty where there is no
            second batch to tell.

    Returns:
        One gain a rank, at least 0 and never rising, as long as `spectrum`.
    """
    floor = [*noise, *[0.0] * (len(spectrum) - len(noise))]
    # The running minimum keeps the next rank from being worth more than this one, which no matrix has.
    return tuple(accumulate((max(0.0, value**2 - low**2) for value, low in zip(spectrum, floor, strict=False)), min))


def allocate_spectral(
    candidates: Sequence[AllocationSite], budget_params: int, min_rank: int, max_rank: int
) -> dict[str, int]:
    """The ranks with the largest sum of gains that the budget can buy.

    Exact: no other ranks within the bounds and the budget have a larger sum. Raising a site's gains never lowers its
    rank. What is left when all gains are spent goes to the lowest ranks first, so that no budget lies idle.

    Args:
        candidates: The sites, with their gains.
        budget_params: What may be spent.
        min_rank: Rank that every site gets at least.
        max_rank: Rank that no site exceeds.

    Raises:
        BudgetError: See `check_budget` and `begin_at`.
    """
    ranks, left = begin_at(candidates, budget_params, min_rank, max_rank)
    # Ranks of sites that cost the same compete by gain alone: within a class the best n are always the first n.
    classes: dict[int, list[tuple[float, str]]] = {}
    for candidate in candidates:
        bought = candidate.gains[ranks[candidate.name] : min(max_rank, candidate.max_rank)]
        classes.setdefault(candidate.rank_cost, []).extend((gain, candidate.name) for gain in bought if gain > 0)
    for ranked in classes.values():
        ranked.sort(key=lambda entry: -entry[0])  # stable: equal gains keep the order of the network
    counts = best_counts(tuple(classes), [[gain for gain, _ in ranked] for ranked in classes.values()], left)
    for (cost, ranked), count in zip(classes.items(), counts, strict=True):
        left -= cost * count
        for _, name in ranked[:count]:
            ranks[name] += 1
    _spend_rest(candidates, ranks, left, max_rank)
    return ranks


def _spend_rest(candidates: Sequence[AllocationSite], ranks: dict[str, int], left: int, max_rank: int) -> None:
    """Raises the lowest ranks, one at a time, as far as `left` reaches."""
    while True:
        open_sites = [
            candidate
            for candidate in candidates
            if candidate.rank_cost <= left and ranks[candidate.name] < min(max_rank, candidate.max_rank)
        ]
        if not open_sites:
            return
        # min() takes the first of equals, which is the first in the network.
        level = min(ranks[candidate.name] for candidate in open_sites)
        for candidate in open_sites:
            if ranks[candidate.name] == level and candidate.rank_cost <= left:
                ranks[candidate.name] += 1
                left -= candidate.rank_cost


class _Choice(NamedTuple):
    """Counts of the classes looked at so far, and how much worse than the linear bound they are."""

    cost: int
    loss: float
    counts: tuple[int, ...]


def best_counts(costs: Sequence[int], gains: Sequence[Sequence[float]], budget: int) -> tuple[int, ...]:
    """How many of each class to take: a knapsack of classes whose members cost the same.

    The linear relaxation takes gains in order of gain per cost up to a critical one, whose ratio is the price of a
    parameter. Departing from it in a class loses the difference to that price, and the best whole solution cannot lose
    more in total than the relaxation is above the greedy solution. So few counts a class are possible, and of all
    combinations of the same or a higher cost only the most valuable is kept.

    Args:
        costs: Of one member, by class.
        gains: Of the members, descending and positive, by class.
        budget: Largest total cost.

    Returns:
        A count for every class.
    """
    order = sorted(
        ((gain, number) for number, values in enumerate(gains) for gain in values),
        key=lambda entry: (-entry[0] / costs[entry[1]], entry[1]),
    )
    base, left, price = [0] * len(costs), budget, 0.0
    for gain, number in order:
        if costs[number] > left:
            price = gain / costs[number]
            break
        base[number] += 1
        left -= costs[number]
    if price == 0.0:
        return tuple(base)
    greedy, rest = [0] * len(costs), budget
    full = [False] * len(costs)
    for _, number in order:
        full[number] = full[number] or costs[number] > rest
        if not full[number]:
            greedy[number] += 1
            rest -= costs[number]
    losses = [_losses(values, cost, start, price) for values, cost, start in zip(gains, costs, base, strict=True)]
    allowed = sum(loss[count] for loss, count in zip(losses, greedy, strict=True)) + price * rest
    allowed += 1e-9 * max(allowed, price)  # the greedy solution itself must survive rounding
    states = [_Choice(0, 0.0, ())]
    for loss, cost in zip(losses, costs, strict=True):
        possible = [count for count, lost in enumerate(loss) if lost <= allowed]
        states = _undominated(
            [
                _Choice(state.cost + cost * count, state.loss + loss[count], (*state.counts, count))
                for state in states
                for count in possible
                if state.loss + loss[count] <= allowed and state.cost + cost * count <= budget
            ],
            price,
        )
    return min(states, key=lambda state: (state.loss + price * (budget - state.cost), state.counts)).counts


def _losses(gains: Sequence[float], cost: int, base: int, price: float) -> list[float]:
    """What taking 0, 1, 2... of a class loses against taking all that are worth their price."""
    losses = [0.0] * (len(gains) + 1)
    for count in range(base, len(gains)):
        losses[count + 1] = losses[count] + max(0.0, price * cost - gains[count])
    for count in range(base - 1, -1, -1):
        losses[count] = losses[count + 1] + max(0.0, gains[count] - price * cost)
    return losses


def _undominated(states: list[_Choice], price: float) -> list[_Choice]:
    """The states of which none cheaper has at least the value."""
    kept: list[_Choice] = []
    best = float("-inf")
    for state in sorted(states):  # by cost, then loss, then counts
        value = price * state.cost - state.loss
        if value > best:
            kept.append(state)
            best = value
    return kept
