"""The penalty of a grid."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adaptsr_cli.training.grid_loss import grid_loss


def noise(levels: float, side_px: int = 128) -> Tensor:
    return 0.5 + levels / 255 * torch.randn(4, side_px, side_px, generator=torch.Generator().manual_seed(0))


def grid(levels: float, period_px: int, side_px: int = 128) -> Tensor:
    pattern = torch.zeros(side_px, side_px)
    pattern[::period_px, ::period_px] = levels / 255
    return pattern


@pytest.mark.parametrize("period_px", [2, 3, 4])
def test_a_grid_of_its_period_costs_most(period_px: int) -> None:
    plain = grid_loss(noise(3), period_px).item()
    assert grid_loss(noise(3) + grid(10, period_px), period_px).item() > 5 * plain
    assert grid_loss(noise(3) + grid(10, 5), period_px).item() < 2 * plain


def test_a_faint_grid_in_a_flat_picture_costs_as_much_as_a_strong_one_in_texture() -> None:
    faint, strong = (grid_loss(noise(levels) + grid(4 * levels, 4), 4).item() for levels in (2, 20))
    assert faint == pytest.approx(strong, rel=0.1)


def test_its_gradient_takes_the_grid_away() -> None:
    image = (noise(3) + grid(10, 4)).requires_grad_()
    grid_loss(image, 4).backward()
    assert image.grad is not None
    centred = grid(10, 4) - grid(10, 4).mean()
    assert ((image.grad * centred).sum(dim=(1, 2)) > 0).all()
    along = (image.grad * centred).sum() / image.grad.norm() / centred.expand(4, -1, -1).norm()
    by_chance = 1 / image.numel() ** 0.5
    assert along > 10 * by_chance


def test_an_image_smaller_than_a_block_costs_nothing() -> None:
    assert grid_loss(noise(3, 48), 4).item() == 0
