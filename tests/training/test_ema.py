"""Averages of the adapter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adaptsr_cli.artifacts.train_config import ScheduleName, TrainConfig
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.training.ema import AdapterAverage, GrowingMean, MovingAverage, make_average


def walk(average: AdapterAverage, parameter: nn.Parameter, first: int, last: int) -> None:
    for iteration in range(first, last):
        with torch.no_grad():
            parameter.fill_(float(iteration))
        average.update()


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


@pytest.mark.parametrize("state", [{}, {"0": torch.zeros(5)}, {"0": torch.zeros(4), "steps": torch.tensor(-1)}])
def test_a_damaged_average_is_refused(state: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ArtifactError, match=r"state: the moving average is damaged"):
        MovingAverage([nn.Parameter(torch.zeros(4))], 0.9).load(state, "state")


def test_a_mean_that_begins_anew_forgets_what_was_not_finite() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    mean = GrowingMean([parameter])
    walk(mean, parameter, 1, 3)
    with torch.no_grad():
        parameter.fill_(torch.inf)
    mean.update()
    with torch.no_grad():
        parameter.fill_(5.0)
    mean.begin_anew()
    with mean.in_place():
        assert parameter.tolist() == [5.0, 5.0]
    walk(mean, parameter, 6, 9)
    with mean.in_place():
        assert parameter.tolist() == pytest.approx([(2 * 6 + 6 * 7 + 12 * 8) / 20] * 2)


def test_a_growing_mean_weighs_steps_by_the_square_of_their_number() -> None:
    parameter = nn.Parameter(torch.full((1,), 1e6))  # the start has no weight
    mean = GrowingMean([parameter])
    walk(mean, parameter, 1, 101)
    weights = [step * (step + 1) for step in range(1, 101)]
    expected = sum(weight * step for weight, step in zip(weights, range(1, 101), strict=True)) / sum(weights)
    with mean.in_place():
        assert parameter.item() == pytest.approx(expected, rel=1e-5)


def test_an_average_of_an_older_version_goes_on_as_one_of_many_steps() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    average = MovingAverage([parameter], 0.75)
    average.load({"0": torch.full((1,), 4.0)}, "state")
    walk(average, parameter, 8, 9)
    with average.in_place():
        assert parameter.tolist() == [5.0]


@pytest.mark.parametrize(
    ("schedule", "ema", "kind"),
    [
        ("constant", None, GrowingMean),
        ("cosine", None, type(None)),
        ("steps", None, type(None)),
        ("constant", 0.9, MovingAverage),
        ("steps", 0.9, MovingAverage),
    ],
)
def test_the_schedule_decides_what_is_kept_unless_a_decay_is_given(
    schedule: ScheduleName, ema: float | None, kind: type
) -> None:
    config = TrainConfig(
        preset="fast", iterations=9, batch=1, patch_px=8, learning_rate=1e-3, schedule=schedule, alpha=1, val_freq=1,
        save_freq=1, precision="fp32", seed=0, ema=ema,
    )  # fmt: skip
    assert type(make_average(config, [nn.Parameter(torch.zeros(1))])) is kind
