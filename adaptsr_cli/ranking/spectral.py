"""The allocation strategy ``spectral``: an exact knapsack of first-order gains. Pure Python: no torch, no files.

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
    """Compute the squared singular values of a mean gradient, less what the noise of the batches adds to them.

    Args:
        spectrum: Singular values of the mean over all batches, descending.
        noise: Singular values of a matrix that holds only the noise of that mean, descending; empty where there is no
            second batch to tell.

    Returns:
        One gain a rank, at least 0 and never rising, as long as `spectrum`.
    """
    floor = [*noise, *[0.0] * (len(spectrum) - len(noise))]
    # Singular values never rise; after the subtraction a later gain may exceed an earlier one by chance. The running
    # minimum takes that back, and the knapsack below needs gains that never rise.
    return tuple(accumulate((max(0.0, value**2 - low**2) for value, low in zip(spectrum, floor, strict=False)), min))


def allocate_spectral(
    candidates: Sequence[AllocationSite], budget_params: int, min_rank: int, max_rank: int
) -> dict[str, int]:
    """Choose the ranks with the largest sum of gains within the budget.

    Exact: no other ranks within the bounds and the budget have a larger sum. Raising a site's gains never lowers its
    rank. What is left of the budget when no further rank has a gain goes to the lowest ranks first.

    Args:
        candidates: The sites, with their gains.
        budget_params: What may be spent.
        min_rank: Rank that every site gets at least.
        max_rank: Rank that no site exceeds.

    Raises:
        BudgetError: See `check_budget` and `begin_at`.
    """
    ranks, left = begin_at(candidates, budget_params, min_rank, max_rank)
    # Sites of one rank cost form a class: their ranks compete by gain alone, so the best n ranks of a class are the
    # first n in descending order of gain, and only the count n of each class is left to be chosen. A network has a
    # handful of classes, whatever its number of sites.
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
    """Raise the lowest ranks, one at a time, as far as `left` reaches."""
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
    """A partial solution: counts of the classes so far.

    Attributes:
        cost: Total cost of the counts.
        loss: How much less they gain than the linear relaxation, at its price of a parameter.
        counts: One for each class so far.
    """

    cost: int
    loss: float
    counts: tuple[int, ...]


def best_counts(costs: Sequence[int], gains: Sequence[Sequence[float]], budget: int) -> tuple[int, ...]:
    """Choose how many members of each class to take: the multiple-choice knapsack problem, solved exactly by its core.

    A class offers the choices "take n" with cost n c and the sum of its n largest gains. The method is that of core
    algorithms for this problem (Pisinger 1995, A minimal algorithm for the multiple-choice knapsack problem):

    1. The linear relaxation takes gains in descending order of gain per cost, until one does not fit: the critical one.
       Its ratio is the price of a parameter. This is an upper bound of every solution.
    2. The greedy solution, which takes whole members in the same order, is a lower bound.
    3. Taking more or fewer of a class than the relaxation loses, for each member, the difference between its gain and
       its cost at that price. A solution that loses more than lies between the two bounds cannot be optimal, which
       leaves a few counts for each class: the core.
    4. Dynamic programming over the classes enumerates the combinations of these; of two partial solutions the one that
       costs no less and gains no more is dropped.

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
    if price == 0.0:  # everything fits
        return tuple(base)
    # The greedy solution goes on past the critical gain, with the classes of which a member still fits.
    greedy, rest = [0] * len(costs), budget
    full = [False] * len(costs)
    for _, number in order:
        full[number] = full[number] or costs[number] > rest
        if not full[number]:
            greedy[number] += 1
            rest -= costs[number]
    losses = [_losses(values, cost, start, price) for values, cost, start in zip(gains, costs, base, strict=True)]
    allowed = sum(loss[count] for loss, count in zip(losses, greedy, strict=True)) + price * rest
    allowed += 1e-9 * max(allowed, price)  # so that rounding does not remove the greedy solution itself
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
    """Compute what taking 0, 1, 2... of a class loses against taking all members that are worth their price.

    Zero at `base`, the count of the relaxation, and rising on both sides of it, since the gains never rise.
    """
    losses = [0.0] * (len(gains) + 1)
    for count in range(base, len(gains)):
        losses[count + 1] = losses[count] + max(0.0, price * cost - gains[count])
    for count in range(base - 1, -1, -1):
        losses[count] = losses[count + 1] + max(0.0, gains[count] - price * cost)
    return losses


def _undominated(states: list[_Choice], price: float) -> list[_Choice]:
    """Keep the states that gain more than every state that costs less."""
    kept: list[_Choice] = []
    best = float("-inf")
    for state in sorted(states):  # by cost, then loss, then counts
        value = price * state.cost - state.loss
        if value > best:
            kept.append(state)
            best = value
    return kept
