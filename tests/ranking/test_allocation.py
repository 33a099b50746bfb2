"""Allocation: exact, deterministic, never over budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptsr_cli.errors import BudgetError
from adaptsr_cli.ranking.allocation import (
    AllocationSite,
    allocate_greedy,
    allocate_uniform,
    default_max_rank,
    largest_uniform_rank,
)


def cost_of(candidates: list[AllocationSite], ranks: dict[str, int]) -> int:
    return sum(candidate.rank_cost * ranks[candidate.name] for candidate in candidates)


candidate_lists = st.lists(
    st.tuples(st.floats(0, 10), st.integers(1, 500), st.integers(1, 40)), min_size=1, max_size=30
).map(lambda rows: [AllocationSite(f"site{index}", *row) for index, row in enumerate(rows)])


@given(candidate_lists, st.integers(1, 200_000), st.integers(0, 3), st.integers(1, 40))
def test_greedy_keeps_its_promises(candidates: list[AllocationSite], budget: int, low: int, high: int) -> None:
    try:
        ranks = allocate_greedy(candidates, budget, low, max(low, high))
    except BudgetError:
        return
    assert cost_of(candidates, ranks) <= budget
    assert ranks == allocate_greedy(candidates, budget, low, max(low, high))
    for candidate in candidates:
        rank = ranks[candidate.name]
        assert min(low, candidate.max_rank) <= rank <= min(max(low, high), candidate.max_rank)
    # maximal: no site below its bound could still be raised by one
    left = budget - cost_of(candidates, ranks)
    for candidate in candidates:
        if ranks[candidate.name] < min(max(low, high), candidate.max_rank):
            assert candidate.rank_cost > left


@given(candidate_lists, st.integers(1, 200_000))
def test_greedy_is_monotone_in_the_score(candidates: list[AllocationSite], budget: int) -> None:
    """Among sites that cost the same, a higher score never gets a lower rank."""
    equal = [AllocationSite(c.name, c.score, 10, 20) for c in candidates]
    try:
        ranks = allocate_greedy(equal, budget, 0, 8)
    except BudgetError:
        return
    by_score = sorted(equal, key=lambda candidate: -candidate.score)
    values = [ranks[candidate.name] for candidate in by_score]
    assert values == sorted(values, reverse=True)


@given(candidate_lists, st.integers(1, 200_000))
def test_uniform_is_the_largest_that_fits(candidates: list[AllocationSite], budget: int) -> None:
    try:
        ranks = allocate_uniform(candidates, budget)
    except BudgetError:
        return
    rank = max(ranks.values())
    assert all(ranks[candidate.name] == min(rank, candidate.max_rank) for candidate in candidates)
    assert cost_of(candidates, ranks) <= budget
    higher = {candidate.name: min(rank + 1, candidate.max_rank) for candidate in candidates}
    assert higher == ranks or cost_of(candidates, higher) > budget


def test_greedy_spends_in_the_order_of_the_scores() -> None:
    candidates = [
        AllocationSite("low", 1.0, 10, 50),
        AllocationSite("high", 3.0, 10, 50),
        AllocationSite("mid", 2.0, 10, 50),
    ]
    assert allocate_greedy(candidates, 130, 1, 8) == {"low": 1, "high": 8, "mid": 4}
    assert allocate_greedy(candidates, 130, 0, 8) == {"low": 0, "high": 8, "mid": 5}


def test_ties_go_to_the_site_named_first() -> None:
    candidates = [AllocationSite("b", 1.0, 10, 50), AllocationSite("a", 1.0, 10, 50)]
    assert allocate_greedy(candidates, 50, 0, 4) == {"b": 4, "a": 1}


def test_leftover_goes_to_a_cheaper_site() -> None:
    candidates = [AllocationSite("dear", 2.0, 100, 50), AllocationSite("cheap", 1.0, 7, 50)]
    assert allocate_greedy(candidates, 150, 0, 8) == {"dear": 1, "cheap": 7}


def test_default_max_rank_is_twice_the_uniform_rank() -> None:
    candidates = [AllocationSite("a", 1.0, 10, 50), AllocationSite("b", 1.0, 10, 50)]
    assert largest_uniform_rank(candidates, 165) == 8
    assert default_max_rank(candidates, 165) == 16


@pytest.mark.parametrize(
    ("budget", "low", "high", "message"),
    [
        (6, 0, 4, "too small for one rank"),
        (10**9, 0, 4, "larger than the model can use"),
        (30, 1, 4, "does not cover rank 1"),
        (300, 3, 2, "leave no choice"),
        (300, 0, 0, "leave no choice"),
    ],
)
def test_impossible_budgets_say_why(budget: int, low: int, high: int, message: str) -> None:
    candidates = [AllocationSite("dear", 2.0, 100, 50), AllocationSite("cheap", 1.0, 7, 50)]
    with pytest.raises(BudgetError, match=message):
        allocate_greedy(candidates, budget, low, high)


def test_uniform_needs_rank_one_everywhere() -> None:
    with pytest.raises(BudgetError, match="less than rank 1 at all 2 sites"):
        allocate_uniform([AllocationSite("dear", 2.0, 100, 50), AllocationSite("cheap", 1.0, 7, 50)], 60)
