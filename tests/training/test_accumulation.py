"""Parts of a batch add up to the batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adaptsr_cli.training.accumulation import GradientAccumulator, split_rows


@pytest.mark.parametrize(("count", "parts"), [(8, 1), (8, 2), (8, 3), (5, 4), (3, 8), (1, 1)])
def test_rows_are_split_once_each_and_evenly(count: int, parts: int) -> None:
    slices = split_rows(count, parts)
    assert [row for part in slices for row in range(count)[part]] == list(range(count))
    sizes = [len(range(count)[part]) for part in slices]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_gradients_and_losses_are_those_of_the_whole(parts: int) -> None:
    generator = torch.Generator().manual_seed(0)
    layer, unused = nn.Linear(6, 3, dtype=torch.float64), nn.Parameter(torch.zeros(2))
    inputs = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    loss = layer(inputs).square().mean()
    expected = torch.autograd.grad(loss, list(layer.parameters()))

    parameters = [*layer.parameters(), unused]
    means = GradientAccumulator(parameters)
    for rows in split_rows(len(inputs), parts):
        layer.zero_grad(set_to_none=True)
        part = layer(inputs[rows]).square().mean()
        torch.autograd.backward(part)
        means.add({"loss": part.detach()}, share=len(inputs[rows]) / len(inputs))
    put = means.put_back()
    assert len(put) == 2
    assert unused.grad is None
    for parameter, gradient in zip(layer.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-12)  # type: ignore[arg-type]
    assert means.losses["loss"].item() == pytest.approx(loss.item(), rel=1e-12)
