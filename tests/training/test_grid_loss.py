"""The loss against a grid."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adaptsr_cli.training.grid_loss import grid_loss


def photo(side_px: int = 144) -> Tensor:
    return torch.rand(2, 3, side_px, side_px, generator=torch.Generator().manual_seed(0))


def grid(levels: float, period_px: int, side_px: int = 144) -> Tensor:
    """One brighter pixel in every cell."""
    pattern = torch.zeros(side_px, side_px)
    pattern[::period_px, ::period_px] = levels / 255
    return pattern


@pytest.mark.parametrize("period_px", [2, 3, 4])
def test_it_is_the_mean_departure_within_a_cell(period_px: int) -> None:
    hr, cell = photo(), grid(2, period_px, period_px)
    expected = (cell - cell.mean()).abs().mean().item()
    assert grid_loss(hr + grid(2, period_px), hr, period_px).item() == pytest.approx(expected, rel=1e-3)


def test_no_other_error_costs_as_much() -> None:
    hr = photo()
    noise = 2 / 255 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(1))
    cost = grid_loss(hr + grid(8, 4), hr, 4).item()  # of the same root mean square as the noise
    assert grid_loss(hr, hr, 4).item() == 0
    assert grid_loss(hr + 0.1, hr, 4).item() < 1e-6
    assert grid_loss(hr + noise, hr, 4).item() < cost / 3
    assert grid_loss(hr + grid(8, 6), hr, 4).item() < cost / 2


def test_its_gradient_takes_the_grid_away() -> None:
    hr = photo()
    sr = (hr + grid(2, 4)).requires_grad_()
    grid_loss(sr, hr, 4).backward()
    assert sr.grad is not None
    pattern = grid(2, 4) - grid(2, 4).mean()
    assert ((sr.grad * pattern).sum(dim=(1, 2, 3)) > 0).all()


def test_patches_smaller_than_an_area_are_one() -> None:
    hr = photo(16)
    assert grid_loss(hr + grid(2, 4, 16), hr, 4).item() == pytest.approx(2 / 255 * (15 / 16) / 8, rel=1e-3)


def test_a_network_that_does_not_upscale_has_no_grid() -> None:
    hr = photo(16)
    assert grid_loss(hr + 0.1 * photo(16), hr, 1).item() == 0
