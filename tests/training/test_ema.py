"""The moving average of the adapter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.training.ema import Mean, MovingAverage


def walk(average: MovingAverage, parameter: nn.Parameter, first: int, last: int) -> None:
    for iteration in range(first, last):
        with torch.no_grad():
            parameter.fill_(float(iteration))
        average.update(iteration)


def test_it_is_the_weighted_mean_of_what_was() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    average = MovingAverage([parameter], 0.6)
    expected = 0.0
    for iteration in range(1, 30):
        decay = min(0.6, (1 + iteration) / (10 + iteration))
        expected = decay * expected + (1 - decay) * iteration
    walk(average, parameter, 1, 30)
    with average.in_place():
        assert parameter.tolist() == pytest.approx([expected] * 3, rel=1e-5)
    assert parameter.tolist() == [29.0] * 3


def test_the_own_values_come_back_after_a_fault() -> None:
    parameter = nn.Parameter(torch.ones(2))
    average = MovingAverage([parameter], 0.9)
    walk(average, parameter, 5, 6)
    with pytest.raises(RuntimeError, match="fault"), average.in_place():
        raise RuntimeError("fault")
    assert parameter.tolist() == [5.0, 5.0]


def test_a_saved_average_goes_on_bit_for_bit() -> None:
    straight, broken = (nn.Parameter(torch.zeros(4)) for _ in range(2))
    whole, first = MovingAverage([straight], 0.99), MovingAverage([broken], 0.99)
    walk(whole, straight, 1, 40)
    walk(first, broken, 1, 17)
    second = MovingAverage([broken], 0.99)
    second.load(first.state(), "state")
    walk(second, broken, 17, 40)
    assert torch.equal(whole.state()["0"], second.state()["0"])


@pytest.mark.parametrize("state", [{}, {"0": torch.zeros(5)}])
def test_a_damaged_average_is_refused(state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ArtifactError, match=r"state: the moving average is damaged"):
        MovingAverage([nn.Parameter(torch.zeros(4))], 0.9).load(state, "state")


def test_a_mean_that_begins_anew_forgets_what_was_not_finite() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    mean = Mean([parameter])
    walk(mean, parameter, 1, 3)
    with torch.no_grad():
        parameter.fill_(torch.inf)
    mean.update(3)
    with torch.no_grad():
        parameter.fill_(5.0)
    mean.begin_anew()
    with mean.in_place():
        assert parameter.tolist() == [5.0, 5.0]
    walk(mean, parameter, 6, 9)
    with mean.in_place():
        assert parameter.tolist() == [7.0, 7.0]
