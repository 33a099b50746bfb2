"""The state of Adam as named tensors, there and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.training.optimizer_state import put_moments, read_moments


def make(steps: int) -> tuple[torch.optim.Adam, list[nn.Parameter]]:
    """An optimiser after some steps; the last parameter never gets a gradient."""
    parameters = [nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(1))]
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    for step in range(steps):
        go(optimizer, parameters, step)
    return optimizer, parameters


def go(optimizer: torch.optim.Adam, parameters: list[nn.Parameter], step: int) -> None:
    for parameter in parameters[:2]:
        parameter.grad = torch.full_like(parameter, 0.5 + step)
    optimizer.step()


def test_an_optimiser_goes_on_as_if_it_had_never_stopped() -> None:
    first, second = make(3), make(0)
    put_moments(*second, read_moments(*first), "state.safetensors")
    with torch.no_grad():
        for source, target in zip(first[1], second[1], strict=True):
            target.copy_(source)
    for step in (3, 4):
        go(*first, step)
        go(*second, step)
    assert all(torch.equal(*both) for both in zip(first[1], second[1], strict=True))


def test_what_was_never_stepped_has_no_moments() -> None:
    assert read_moments(*make(0)) == {}
    assert sorted(read_moments(*make(1))) == [
        f"{index}/{moment}" for index in (0, 1) for moment in ("exp_avg", "exp_avg_sq", "step")
    ]


def test_moments_are_copies() -> None:
    optimizer, parameters = make(1)
    saved = read_moments(optimizer, parameters)
    before = {key: tensor.clone() for key, tensor in saved.items()}
    go(optimizer, parameters, 1)
    assert all(torch.equal(saved[key], before[key]) for key in saved)


@pytest.mark.parametrize(
    "change",
    [
        {"0/exp_avg": None},
        {"0/exp_avg": torch.zeros(4)},
        {"0/step": torch.zeros(2)},
        {"3/step": torch.zeros(())},
        {"0/more": torch.zeros(())},
    ],
    ids=["missing", "shape", "step", "one too many", "unknown"],
)
def test_moments_that_do_not_fit_are_refused(change: dict[str, Tensor | None]) -> None:
    saved = {key: tensor for key, tensor in ({**read_moments(*make(1)), **change}).items() if tensor is not None}
    with pytest.raises(ArtifactError, match=r"state\.safetensors: the optimiser state is damaged"):
        put_moments(*make(0), saved, "state.safetensors")
