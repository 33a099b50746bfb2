"""Spectral allocation against brute force, and its promises."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptsr_cli.errors import BudgetError
from adaptsr_cli.ranking.allocation import AllocationSite, allocate_proportional
from adaptsr_cli.ranking.spectral import allocate_spectral, signal_gains


def total_gain(candidates: list[AllocationSite], ranks: dict[str, int]) -> float:
    return sum(sum(candidate.gains[: ranks[candidate.name]]) for candidate in candidates)


def cost_of(candidates: list[AllocationSite], ranks: dict[str, int]) -> int:
    return sum(candidate.rank_cost * ranks[candidate.name] for candidate in candidates)


def small_problem(seed: int) -> tuple[list[AllocationSite], int]:
    """Up to five sites of up to four ranks; costs may be alike or not, gains may be zero."""
    random = np.random.default_rng(seed)
    candidates = []
    for number in range(random.integers(2, 6)):
        ranks = int(random.integers(1, 5))
        gains = np.sort(random.exponential(size=ranks) * random.integers(0, 3, ranks))[::-1]
        cost = int(random.choice([3, 5, 7, 12]) if seed % 2 else random.integers(1, 30))
        candidates.append(AllocationSite(f"site{number}", 1.0, cost, ranks, tuple(gains.tolist())))
    most = sum(candidate.rank_cost * candidate.max_rank for candidate in candidates)
    return candidates, int(random.integers(min(candidate.rank_cost for candidate in candidates), most + 1))


@pytest.mark.parametrize("seed", range(200))
def test_equal_to_brute_force(seed: int) -> None:
    candidates, budget = small_problem(seed)
    ranks = allocate_spectral(candidates, budget, 0, 4)
    assert cost_of(candidates, ranks) <= budget
    best = max(
        total_gain(candidates, choice)
        for counts in product(*(range(candidate.max_rank + 1) for candidate in candidates))
        if cost_of(candidates, choice := {c.name: n for c, n in zip(candidates, counts, strict=True)}) <= budget
    )
    assert total_gain(candidates, ranks) == pytest.approx(best, rel=1e-12, abs=1e-12)


def test_greedy_by_ratio_would_be_worse_here() -> None:
    """The dear site fills the budget exactly; the cheap one has the better ratio but leaves most of it."""
    candidates = [AllocationSite("cheap", 1.0, 6, 1, (7.0,)), AllocationSite("dear", 1.0, 10, 1, (10.0,))]
    assert allocate_spectral(candidates, 10, 0, 1) == {"cheap": 0, "dear": 1}


large_problems = st.lists(
    st.tuples(st.integers(1, 500), st.lists(st.floats(0, 10), min_size=1, max_size=12)), min_size=1, max_size=20
).map(
    lambda rows: [
        AllocationSite(f"site{number}", 1.0, cost, len(gains), tuple(sorted(gains, reverse=True)))
        for number, (cost, gains) in enumerate(rows)
    ]
)


@given(large_problems, st.integers(1, 20_000), st.integers(0, 2), st.integers(1, 12))
def test_within_the_budget_and_the_bounds_and_the_same_every_time(
    candidates: list[AllocationSite], budget: int, low: int, high: int
) -> None:
    high = max(low, high)
    try:
        ranks = allocate_spectral(candidates, budget, low, high)
    except BudgetError:
        return
    assert cost_of(candidates, ranks) <= budget
    assert ranks == allocate_spectral(candidates, budget, low, high)
    left = budget - cost_of(candidates, ranks)
    for candidate in candidates:
        rank = ranks[candidate.name]
        assert min(low, candidate.max_rank) <= rank <= min(high, candidate.max_rank)
        assert rank == min(high, candidate.max_rank) or candidate.rank_cost > left  # nothing lies idle


@pytest.mark.parametrize("seed", range(60))
def test_larger_gains_never_get_a_lower_rank(seed: int) -> None:
    candidates, budget = small_problem(seed)
    before = allocate_spectral(candidates, budget, 0, 4)
    for number, raised in enumerate(candidates):
        if raised.gains[-1] == 0:
            continue  # ranks that buy nothing are given away by what is left over, not by gain
        more = tuple(gain * 1.7 for gain in raised.gains)
        changed = [*candidates]
        changed[number] = AllocationSite(raised.name, 1.0, raised.rank_cost, raised.max_rank, more)
        assert allocate_spectral(changed, budget, 0, 4)[raised.name] >= before[raised.name]


def test_a_real_size_is_solved_in_moderate_work() -> None:
    """120 sites of 16 different costs and 64 gains each, as of a large transformer."""
    random = np.random.default_rng(0)
    costs = random.integers(200, 3000, 16).tolist()
    candidates = [
        AllocationSite(f"site{n}", 1.0, costs[n % 16], 64, tuple(np.sort(random.exponential(size=64))[::-1].tolist()))
        for n in range(120)
    ]
    ranks = allocate_spectral(candidates, 426_000, 0, 64)
    assert 426_000 - min(costs) < cost_of(candidates, ranks) <= 426_000


def test_gains_are_squares_above_the_noise_and_never_rise() -> None:
    assert signal_gains((3.0, 2.0, 1.0), (1.0, 1.9, 0.5)) == pytest.approx((8.0, 0.39, 0.39))
    assert signal_gains((3.0, 2.0), ()) == (9.0, 4.0)
    assert signal_gains((1.0,), (2.0,)) == (0.0,)
    assert signal_gains((), ()) == ()


scored = st.lists(st.tuples(st.floats(0, 10), st.integers(1, 500), st.integers(1, 40)), min_size=1, max_size=20).map(
    lambda rows: [AllocationSite(f"site{number}", *row) for number, row in enumerate(rows)]
)


@given(scored, st.integers(1, 50_000), st.integers(0, 2), st.floats(1, 5), st.integers(0, 19))
def test_proportional_keeps_its_promises(
    candidates: list[AllocationSite], budget: int, low: int, factor: float, which: int
) -> None:
    try:
        ranks = allocate_proportional(candidates, budget, low, 40)
    except BudgetError:
        return
    assert cost_of(candidates, ranks) <= budget
    assert ranks == allocate_proportional(candidates, budget, low, 40)
    raised = candidates[which % len(candidates)]
    changed = [
        AllocationSite(c.name, c.score * factor if c is raised else c.score, c.rank_cost, c.max_rank)
        for c in candidates
    ]
    assert allocate_proportional(changed, budget, low, 40)[raised.name] >= ranks[raised.name]


def test_proportional_is_proportional() -> None:
    candidates = [AllocationSite("a", 3.0, 10, 50), AllocationSite("b", 2.0, 10, 50), AllocationSite("c", 1.0, 10, 50)]
    assert allocate_proportional(candidates, 120, 0, 50) == {"a": 6, "b": 4, "c": 2}
    assert allocate_proportional(candidates, 120, 1, 5) == {"a": 5, "b": 5, "c": 2}
