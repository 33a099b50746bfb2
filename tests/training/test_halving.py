"""The plan of the search for method and learning rate, and which trials go on."""

from __future__ import annotations

import pytest

from adaptsr_cli.artifacts.search import RateBound, TrialScore
from adaptsr_cli.training.halving import LEAST_ITERATIONS, best_of, mark_unstable, plan_halving, rates_to_try


@pytest.mark.parametrize("iterations", [LEAST_ITERATIONS, 100, 300, 777, 2_000, 100_000])
@pytest.mark.parametrize("methods", [("lora",), ("lora", "full")])
def test_a_search_costs_at_most_three_tenths_of_the_training(methods: tuple[str, ...], iterations: int) -> None:
    plan = plan_halving(methods, iterations)  # type: ignore[arg-type]
    assert 0.25 * iterations < plan.lost_iterations <= 0.3 * iterations
    assert plan.rounds[-1].keep == 1
    assert len(set(plan.trials)) == len(plan.trials) >= 2
    assert plan.trials[0] == (methods[0], 0)
    assert plan.rounds[-1].end < iterations


def test_the_default_training_tries_two_rates_of_two_methods() -> None:
    plan = plan_halving(("lora", "full"), 300)
    assert plan.trials == (("lora", 0), ("full", 0), ("lora", 1), ("full", 1))
    assert plan.describe(300) == "4 trials of 22 steps, the best 2 of them to 44, and the best one to 300"
    assert (plan.all_iterations, plan.lost_iterations, plan.validations) == (132, 88, 6)


def test_half_of_the_usual_rate_is_second_and_twice_a_lower_one() -> None:
    assert rates_to_try(RateBound(method="full", usual=2e-3, highest=2e-3))[:2] == (2e-3, 1e-3)
    assert rates_to_try(RateBound(method="full", usual=2e-3, highest=2.5e-4))[:3] == (2.5e-4, 5e-4, 1.25e-4)


def mark(scores: dict[str, TrialScore]) -> dict[str, TrialScore]:
    """Marked as rates of one method."""
    return mark_unstable(scores, dict.fromkeys(scores, "full"))


def test_a_lowered_rate_is_judged_by_the_batches_since() -> None:
    scores = mark(
        {
            "calm": TrialScore(iteration=30, gain_db=0.1, losses=(0.03, 0.02, 0.04)),
            "lowered": TrialScore(iteration=30, gain_db=0.2, losses=(0.021, 0.041), learning_rate=1e-4),
            "spiky": TrialScore(iteration=30, gain_db=0.3, losses=(0.03, 0.04), learning_rate=1e-3),
            "untried": TrialScore(iteration=30, gain_db=0.4, learning_rate=1e-4),
        }
    )
    assert [key for key, score in scores.items() if not score.stable] == ["spiky", "untried"]
    assert best_of(scores, 1) == ["lowered"]


def test_an_unstable_trial_goes_on_only_where_there_are_not_enough_others() -> None:
    scores = mark(
        {
            "calm": TrialScore(iteration=20, gain_db=0.1, losses=(0.02, 0.02)),
            "spiky": TrialScore(iteration=20, gain_db=0.4, losses=(0.02, 0.03)),
            "best": TrialScore(iteration=20, gain_db=0.2, losses=(0.021, 0.024)),
            "failed": TrialScore(iteration=20, gain_db=None, losses=(0.02,)),
        }
    )
    assert [key for key, score in scores.items() if not score.stable] == ["spiky"]
    assert best_of(scores, 1) == ["best"]
    assert best_of(scores, 2) == ["calm", "best"]
    assert best_of(scores, 3) == ["calm", "spiky", "best"]


def test_a_loss_is_compared_among_rates_of_one_method() -> None:
    """Full updates with a higher loss than low-rank ones and a higher score win; those at a rate too high do not."""
    scores = {
        "lora": TrialScore(iteration=22, gain_db=0.0, losses=(0.02, 0.02)),
        "full": TrialScore(iteration=22, gain_db=0.1, losses=(0.02, 0.03)),
        "full, too high": TrialScore(iteration=22, gain_db=0.2, losses=(0.02, 0.04)),
    }
    marked = mark_unstable(scores, {"lora": "lora", "full": "full", "full, too high": "full"})
    assert [key for key, score in marked.items() if not score.stable] == ["full, too high"]
    assert best_of(marked, 1) == ["full"]
