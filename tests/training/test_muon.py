"""Muon, beside what is known of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from adaptsr_cli.training.muon import Muon, orthogonalise
from adaptsr_cli.training.optimizer import make_optimizer

CPU = torch.device("cpu")


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("shape", [(2, 16, 9), (1, 9, 16), (3, 1, 7), (1, 5, 5)])
def test_singular_values_come_to_about_one_and_directions_stay(shape: tuple[int, int, int]) -> None:
    matrices = draw(*shape)
    found = orthogonalise(matrices)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    values = u.mT @ found @ vh.mT
    diagonal = values.diagonal(dim1=1, dim2=2)
    assert 0.65 < float(diagonal.min()) <= float(diagonal.max()) < 1.25
    assert torch.allclose(values, torch.diag_embed(diagonal), atol=1e-4)


def test_no_gradient_is_no_step() -> None:
    assert torch.equal(orthogonalise(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))


def test_the_size_of_a_gradient_does_not_matter() -> None:
    assert torch.allclose(orthogonalise(draw(1, 6, 4)), orthogonalise(1e-5 * draw(1, 6, 4)), atol=1e-5)


def test_torchs_own_takes_the_same_steps() -> None:
    """With its scaling by Adam's root mean square, 0.2, to which ours is four times."""
    ours, theirs = (nn.Parameter(draw(6, 9)) for _ in range(2))
    first = Muon([{"params": [ours]}], 0.01)
    second = torch.optim.Muon(
        [theirs], lr=0.04, weight_decay=0.0, momentum=0.8, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(4):
        gradient = draw(6, 9 + step)[:, :9]
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        first.step()
        second.step()
    # Torch computes in bfloat16, and weighs the momentum's newest gradient by 1 - 0.8, which cancels out.
    assert torch.allclose(ours, theirs, atol=4e-3)
    assert not torch.allclose(ours, draw(6, 9), atol=1e-2)


def test_a_kernel_is_a_matrix_of_its_outputs() -> None:
    kernel, matrix = nn.Parameter(draw(4, 3, 2, 2)), nn.Parameter(draw(4, 3, 2, 2).flatten(1))
    for parameter in (kernel, matrix):
        parameter.grad = torch.arange(48.0).cos().view_as(parameter)
        Muon([{"params": [parameter]}], 0.1).step()
    assert torch.equal(kernel.flatten(1), matrix)


def test_every_parameter_is_stepped_by_one_part_at_its_own_rate() -> None:
    matrices = [nn.Parameter(torch.zeros(2, 2)) for _ in range(2)]
    vector = nn.Parameter(torch.zeros(2))
    groups = [{"params": [matrices[0], vector], "ratio": 1.0}, {"params": [matrices[1]], "ratio": 4.0}]
    optimizer = make_optimizer("muon", groups, 1e-3, CPU)
    for parameter in (*matrices, vector):
        parameter.grad = torch.ones_like(parameter).cumsum(0)
    optimizer.set_rate(1e-2)
    optimizer.step()
    assert torch.allclose(matrices[1], 4 * matrices[0])
    assert float(matrices[0].detach().abs().max()) > 0
    assert vector.tolist() == pytest.approx([-1e-2, -1e-2])  # Adam's first step
