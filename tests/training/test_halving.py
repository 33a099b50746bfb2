"""The plan of the search for method and learning rate, and which trials go on."""

from __future__ import annotations

import pytest

from adaptsr_cli.artifacts.search import RateBound, TrialScore
from adaptsr_cli.training.halving import (
    LEAST_ITERATIONS,
    best_of,
    mark_small_leads,
    mark_unstable,
    plan_halving,
    rates_to_try,
)


@pytest.mark.parametrize("iterations", [LEAST_ITERATIONS, 100, 300, 777, 2_000, 100_000])
@pytest.mark.parametrize("methods", [("lora",), ("lora", "full")])
def test_a_search_costs_at_most_three_tenths_of_the_training(methods: tuple[str, ...], iterations: int) -> None:
    plan = plan_halving(methods, iterations)  # type: ignore[arg-type]
    assert 0.25 * iterations < plan.lost_iterations <= 0.3 * iterations
    assert plan.rounds[-1].keep == 1
    assert len(set(plan.trials)) == len(plan.trials) >= 2
    assert plan.trials[0] == (methods[0], 0)
    assert plan.rounds[-1].end < iterations


def test_the_default_training_tries_two_rates() -> None:
    plan = plan_halving(("full", "lora"), 300)
    assert plan.trials == (("full", 0), ("full", 1))
    assert plan.describe(300) == "2 trials of 90 steps, and the best one to 300"
    assert (plan.all_iterations, plan.lost_iterations, plan.validations) == (180, 90, 2)


def test_a_long_training_tries_two_rates_of_two_methods() -> None:
    plan = plan_halving(("full", "lora"), 1_200)
    assert plan.trials == (("full", 0), ("lora", 0), ("full", 1), ("lora", 1))
    assert plan.describe(1_200) == "4 trials of 90 steps, the best 2 of them to 180, and the best one to 1200"
    assert (plan.all_iterations, plan.lost_iterations, plan.validations) == (540, 360, 6)


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


def test_a_trial_that_hardly_moves_since_it_failed_spoils_no_other() -> None:
    """The gains are those of SPAN x4 on camera 2 at its rate and at twice that; the losses are made up."""
    scores = mark(
        {
            "moves": TrialScore(iteration=90, gain_db=1.17, losses=(0.030, 0.041, 0.028)),
            "lowered": TrialScore(iteration=90, gain_db=-0.07, losses=(0.031, 0.027), learning_rate=3.1e-5),
        }
    )
    assert all(score.stable for score in scores.values())
    assert best_of(scores, 1) == ["moves"]


def test_a_trial_whose_score_fell_is_unstable_whatever_its_losses() -> None:
    scores = mark(
        {
            "fallen": TrialScore(iteration=30, gain_db=0.4, losses=(0.03, 0.02), stable=False),
            "calm": TrialScore(iteration=30, gain_db=0.1, losses=(0.03, 0.02)),
        }
    )
    assert [key for key, score in scores.items() if score.stable] == ["calm"]
    assert best_of(scores, 1) == ["calm"]


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


def mark_leads(gains_db: dict[float, float | None], *unstable: float) -> dict[float, TrialScore]:
    """Scores of rates of one method, marked; `unstable` ones of them are."""
    scores = {
        rate: TrialScore(iteration=18, gain_db=gain_db, stable=rate not in unstable)
        for rate, gain_db in gains_db.items()
    }
    return mark_small_leads(scores, dict.fromkeys(scores, "full"), {rate: rate for rate in scores})


@pytest.mark.parametrize(
    ("gains_db", "winner"),
    [
        ({2e-3: 0.97, 1e-3: 0.86}, 1e-3),
        ({2e-3: 0.78, 1e-3: 0.49}, 2e-3),
        ({2e-3: 0.78, 1e-3: 0.79}, 1e-3),
        ({2e-3: -0.10, 1e-3: -0.11}, 2e-3),
        ({2e-3: 0.01, 1e-3: -0.01}, 2e-3),
        ({1e-3: 1.00, 2e-3: 1.10, 4e-3: 1.20}, 1e-3),
        ({1e-3: 1.00, 2e-3: 1.30, 4e-3: 1.40}, 2e-3),
        ({2e-3: 0.97, 1e-3: None}, 2e-3),
    ],
)
def test_a_higher_rate_goes_on_only_if_it_leads_by_enough(gains_db: dict[float, float | None], winner: float) -> None:
    scores = mark_leads(gains_db)
    assert best_of(scores, 1) == [winner]
    ahead = {rate for rate, gain_db in gains_db.items() if (gain_db or 0.0) > (gains_db[winner] or 0.0)}
    assert {rate for rate, score in scores.items() if not score.leads_enough} >= ahead
    assert all(score.describe().endswith(", too small a lead") for rate, score in scores.items() if rate in ahead)


def test_a_lead_is_measured_against_a_stable_rate_only() -> None:
    assert best_of(mark_leads({2e-3: 0.97, 1e-3: 0.86}, 1e-3), 1) == [2e-3]
    assert best_of(mark_leads({2e-3: 0.97, 1e-3: 0.86}, 2e-3), 1) == [1e-3]
    assert best_of(mark_leads({2e-3: 0.97, 1e-3: 0.86}), 2) == [2e-3, 1e-3]


def test_a_small_lead_over_another_method_decides() -> None:
    scores = {name: TrialScore(iteration=90, gain_db=gain_db) for name, gain_db in (("lora", 0.86), ("full", 0.97))}
    marked = mark_small_leads(scores, {"lora": "lora", "full": "full"}, {"lora": 1e-3, "full": 2e-3})
    assert best_of(marked, 1) == ["full"]
