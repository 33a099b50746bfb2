"""Allocation of a parameter budget to ranks (AdaptSR, Algorithm 1). Pure Python: no torch, no files.

Every allocation costs at most the budget, is deterministic (ties go to the site named first), and gives no site an
adapter larger than its weight.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adaptsr_cli.artifacts.base import Strategy
from adaptsr_cli.errors import BudgetError
from adaptsr_cli.units import format_params

DEFAULT_STRATEGY: Final[Strategy] = "spectral"
"""Measured best: README, "Where the ranks go"."""


@dataclass(frozen=True)
class AllocationSite:
    """A site as the allocator sees it.

    Attributes:
        name: Exact site name.
        score: Its saliency; a larger one gets a higher rank.
        rank_cost: Parameters that one rank costs.
        max_rank: Largest rank allowed there.
        gains: First-order gain of each rank, from the first on, never rising.
    """

    name: str
    score: float
    rank_cost: int
    max_rank: int
    gains: tuple[float, ...] = ()


def largest_uniform_rank(candidates: Sequence[AllocationSite], budget_params: int) -> int:
    """Find the largest rank that the budget pays for at every site; 0 where it does not pay for rank 1."""
    rank = 0
    limit = max((candidate.max_rank for candidate in candidates), default=0)
    while rank < limit and _uniform_cost(candidates, rank + 1) <= budget_params:
        rank += 1
    return rank


def _uniform_cost(candidates: Sequence[AllocationSite], rank: int) -> int:
    return sum(candidate.rank_cost * min(rank, candidate.max_rank) for candidate in candidates)


def check_budget(candidates: Sequence[AllocationSite], budget_params: int) -> None:
    """Refuse budgets that pay for no rank at all, or for more than all sites can have.

    Raises:
        BudgetError: No site, too small for one rank at the cheapest site, or larger than all sites can use.
    """
    if not candidates:
        raise BudgetError(
            "there is no site to spend a budget on", "check `modules` and the sites that `adaptsr score` lists"
        )
    cheapest = min(candidates, key=lambda candidate: candidate.rank_cost)
    if budget_params < cheapest.rank_cost:
        raise BudgetError(
            f"budget {budget_params:,} is too small for one rank: the cheapest site, {cheapest.name}, "
            f"costs {cheapest.rank_cost:,}",
            f"give at least `budget` {cheapest.rank_cost}",
        )
    most = sum(candidate.rank_cost * candidate.max_rank for candidate in candidates)
    if budget_params > most:
        raise BudgetError(
            f"budget {budget_params:,} is larger than the model can use: all sites at their largest rank cost {most:,}",
            f"give at most `budget` {most}; 8% of the backbone is usual",
        )


def allocate_uniform(
    candidates: Sequence[AllocationSite], budget_params: int, max_rank: int | None = None
) -> dict[str, int]:
    """Give every site the same rank, as large as the budget allows (the paper's baseline).

    A site whose weight is smaller than an adapter of that rank gets its largest rank instead.

    Args:
        candidates: The sites.
        budget_params: What may be spent.
        max_rank: Upper bound of the rank; None for none.

    Raises:
        BudgetError: See `check_budget`, or the budget does not pay for rank 1 everywhere.
    """
    check_budget(candidates, budget_params)
    rank = largest_uniform_rank(candidates, budget_params)
    if rank == 0:
        raise BudgetError(
            f"budget {budget_params:,} is less than rank 1 at all {len(candidates)} sites "
            f"({_uniform_cost(candidates, 1):,})",
            "raise `budget`, restrict `modules`, or use `strategy` greedy with `min_rank` 0",
        )
    if max_rank is not None:
        rank = min(rank, max_rank)
    return {candidate.name: min(rank, candidate.max_rank) for candidate in candidates}


def begin_at(
    candidates: Sequence[AllocationSite], budget_params: int, min_rank: int, max_rank: int
) -> tuple[dict[str, int], int]:
    """Give every site `min_rank`, with which all strategies but `uniform` begin.

    Returns:
        The ranks by site name, and what is left of the budget.

    Raises:
        BudgetError: See `check_budget`, the bounds leave no choice, or the budget does not cover `min_rank` everywhere.
    """
    check_budget(candidates, budget_params)
    if not 0 <= min_rank <= max_rank or max_rank < 1:
        raise BudgetError(
            f"`min_rank` {min_rank} and `max_rank` {max_rank} leave no choice",
            "both are whole numbers, 0 <= min <= max, max at least 1",
        )
    floor = _uniform_cost(candidates, min_rank)
    if floor > budget_params:
        raise BudgetError(
            f"budget {budget_params:,} does not cover rank {min_rank} at all {len(candidates)} sites ({floor:,})",
            f"raise it to {format_params(floor)} or more, or give `min_rank` 0",
        )
    return {candidate.name: min(min_rank, candidate.max_rank) for candidate in candidates}, budget_params - floor


def default_max_rank(candidates: Sequence[AllocationSite], budget_params: int) -> int:
    """Choose the largest rank: twice the uniform rank of the same budget, at least 4 (the paper has 16 and 8)."""
    return max(4, 2 * largest_uniform_rank(candidates, budget_params))


def allocate_greedy(
    candidates: Sequence[AllocationSite], budget_params: int, min_rank: int, max_rank: int
) -> dict[str, int]:
    """Give higher ranks to sites with higher scores (AdaptSR, Algorithm 1).

    Every site starts at `min_rank`; then, in descending order of the score, each is raised towards `max_rank` as far
    as the budget allows. A rest that is too small for a rank at one site is tried at the next.

    Args:
        candidates: The sites.
        budget_params: What may be spent.
        min_rank: Rank of the least important sites; 0 attaches nothing there.
        max_rank: Rank of the most important sites.

    Raises:
        BudgetError: See `check_budget` and `begin_at`.
    """
    ranks, left = begin_at(candidates, budget_params, min_rank, max_rank)
    # sorted() is stable: equal scores keep the order of the network.
    for candidate in sorted(candidates, key=lambda candidate: -candidate.score):
        wanted = min(max_rank, candidate.max_rank) - ranks[candidate.name]
        raised = max(0, min(wanted, left // candidate.rank_cost))
        ranks[candidate.name] += raised
        left -= raised * candidate.rank_cost
    return ranks


def allocate_proportional(
    candidates: Sequence[AllocationSite], budget_params: int, min_rank: int, max_rank: int
) -> dict[str, int]:
    """Give ranks in proportion to the scores, by highest averages (D'Hondt's method of allotting seats).

    The next rank always goes to the site whose score per rank, with that rank counted, is the highest. A site that the
    rest of the budget cannot raise drops out. Raising a site's score never lowers its rank.

    Args:
        candidates: The sites.
        budget_params: What may be spent.
        min_rank: Rank that every site gets at least.
        max_rank: Rank that no site exceeds.

    Raises:
        BudgetError: See `check_budget` and `begin_at`.
    """
    ranks, left = begin_at(candidates, budget_params, min_rank, max_rank)
    queue = [
        (-candidate.score / (ranks[candidate.name] + 1), number)
        for number, candidate in enumerate(candidates)
        if ranks[candidate.name] < min(max_rank, candidate.max_rank)
    ]
    heapq.heapify(queue)
    while queue:
        _, number = heapq.heappop(queue)
        candidate = candidates[number]
        if candidate.rank_cost > left:
            continue
        left -= candidate.rank_cost
        ranks[candidate.name] += 1
        if ranks[candidate.name] < min(max_rank, candidate.max_rank):
            heapq.heappush(queue, (-candidate.score / (ranks[candidate.name] + 1), number))
    return ranks
