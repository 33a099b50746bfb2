"""What further ranks are guessed to be worth."""

from __future__ import annotations

import pytest

from adaptsr_cli.ranking.allocation import AllocationSite
from adaptsr_cli.ranking.regrowth import UNKNOWN_FALL, extended_gains, gains_in_proportion
from adaptsr_cli.ranking.spectral import allocate_spectral


def test_a_spectrum_goes_on_at_its_own_pace() -> None:
    gains = extended_gains(
        {"a": (8.0, 4.0, 2.0), "b": (3.0,), "c": (), "d": (5.0, 4.0)}, {"a": 3, "b": 1, "c": 2, "d": 3}
    )
    assert gains["a"] == pytest.approx((8, 4, 2, 1, 0.5, 0.25))
    assert gains["b"] == pytest.approx((3, 3 * 0.65))  # the median fall of the others
    assert gains["c"] == ()
    assert gains["d"] == (5.0, 4.0)  # a rank of its own was left unused
    assert extended_gains({"a": (2.0,)}, {"a": 1})["a"] == (2.0, 2.0 * UNKNOWN_FALL)


def test_ranks_of_another_cost_are_counted_in_proportion() -> None:
    assert gains_in_proportion((8.0, 4.0, 2.0), 1.0, 4) == pytest.approx((8, 4, 2, 0))
    assert gains_in_proportion((8.0, 4.0, 2.0), 2.0, 3) == pytest.approx((12, 2, 0))
    assert gains_in_proportion((8.0, 4.0), 0.5, 5) == pytest.approx((4, 4, 2, 2, 0))
    assert gains_in_proportion((), 1.5, 2) == (0.0, 0.0)


def test_saturated_sites_grow_at_the_cost_of_the_others() -> None:
    """At the budget of before: what was flat gets ranks, what fell off gives them."""
    energies = {"flat": (9.0, 8.8, 8.6), "steep": (9.0, 0.1, 0.001)}
    ranks = {"flat": 3, "steep": 3}
    gains = extended_gains(energies, ranks)
    candidates = [AllocationSite(name, 0.0, 10, 8, gains[name]) for name in energies]
    assert allocate_spectral(candidates, 60, 0, 8) == {"flat": 5, "steep": 1}
