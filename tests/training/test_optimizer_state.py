"""The state of the optimisers as named tensors, there and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from adaptsr_cli.artifacts.train_config import OptimizerName
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.training.optimizer import JointOptimizer, make_optimizer
from adaptsr_cli.training.optimizer_state import put_moments, read_moments

CPU = torch.device("cpu")
ADAM = ("exp_avg", "exp_avg_sq", "step")

both = pytest.mark.parametrize("name", ["adam", "muon"])


def make(steps: int, name: OptimizerName = "muon") -> tuple[JointOptimizer, list[nn.Parameter]]:
    """An optimiser after some steps; the last parameter never gets a gradient."""
    parameters = [nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(1, 1))]
    optimizer = make_optimizer(name, [{"params": parameters, "ratio": 1.0}], 0.1, CPU)
    for step in range(steps):
        go(optimizer, parameters, step)
    return optimizer, parameters


def go(optimizer: JointOptimizer, parameters: list[nn.Parameter], step: int) -> None:
    for parameter in parameters[:2]:
        gradient = torch.arange(parameter.numel()).sub(1.5).mul(0.5 + step).sin()
        parameter.grad = gradient.view_as(parameter)
    optimizer.step()


@both
def test_an_optimiser_goes_on_as_if_it_had_never_stopped(name: OptimizerName) -> None:
    first, second = make(3, name), make(0, name)
    put_moments(*second, read_moments(*first), "state.safetensors")
    with torch.no_grad():
        for source, target in zip(first[1], second[1], strict=True):
            target.copy_(source)
    for step in (3, 4):
        go(*first, step)
        go(*second, step)
    assert all(torch.equal(*pair) for pair in zip(first[1], second[1], strict=True))


def test_what_was_never_stepped_has_no_moments_of_adam() -> None:
    assert read_moments(*make(0, "adam")) == {}
    assert sorted(read_moments(*make(1, "adam"))) == [f"adam/{index}/{moment}" for index in (0, 1) for moment in ADAM]


def test_every_matrix_has_a_momentum() -> None:
    of_matrices = ["muon/0/momentum", "muon/2/momentum"]
    assert sorted(read_moments(*make(0))) == of_matrices
    found = read_moments(*make(1))
    assert sorted(found) == [*(f"adam/1/{moment}" for moment in ADAM), *of_matrices]
    assert [bool(found[name].any()) for name in of_matrices] == [True, False]


@both
def test_moments_are_copies(name: OptimizerName) -> None:
    optimizer, parameters = make(1, name)
    saved = read_moments(optimizer, parameters)
    before = {key: tensor.clone() for key, tensor in saved.items()}
    go(optimizer, parameters, 1)
    assert all(torch.equal(saved[key], before[key]) for key in saved)


@pytest.mark.parametrize(
    "change",
    [
        {"adam/1/exp_avg": None},
        {"adam/1/exp_avg": torch.zeros(5)},
        {"adam/1/step": torch.zeros(2)},
        {"adam/3/step": torch.zeros(())},
        {"adam/1/more": torch.zeros(())},
        {"adam/0/step": torch.zeros(())},
        {"muon/0/momentum": None},
        {"muon/0/momentum": torch.zeros(3, 2)},
        {"muon/0/momentum": torch.full((2, 3), torch.nan)},
    ],
    ids=[
        "missing",
        "shape",
        "step",
        "one too many",
        "unknown",
        "of the other",
        "matrix missing",
        "matrix",
        "not finite",
    ],
)
def test_moments_that_do_not_fit_are_refused(change: dict[str, Tensor | None]) -> None:
    saved = {key: tensor for key, tensor in ({**read_moments(*make(1)), **change}).items() if tensor is not None}
    with pytest.raises(ArtifactError, match=r"state\.safetensors: the optimiser state is damaged"):
        put_moments(*make(0), saved, "state.safetensors")
