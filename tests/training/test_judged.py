"""What a perceptual judge gets to see."""

from __future__ import annotations

import pytest
import torch

from adaptsr_cli.training.judged import judged, luma, random_window, texture


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """A true image that is flat at the left and textured at the right, and an output of another colour."""
    generator = torch.Generator().manual_seed(0)
    hr = torch.full((1, 3, 32, 64), 0.5)
    hr[..., 32:] += 0.2 * torch.randn(1, 1, 32, 32, generator=generator)
    return hr + 0.1 * torch.randn(hr.shape, generator=generator), hr


def test_only_luminance_is_judged() -> None:
    sr, hr = batch()
    seen = judged(sr, hr) - hr
    assert torch.allclose(seen, seen[:, :1].expand_as(seen), atol=1e-6)
    assert torch.allclose(luma(seen), texture(hr)[:, 0] * luma(sr - hr), atol=1e-6)
    assert torch.equal(judged(hr, hr), hr)


def test_nothing_is_judged_where_the_truth_is_flat() -> None:
    sr, hr = batch()
    sr.requires_grad_()
    judged(sr, hr).square().sum().backward()
    assert sr.grad is not None
    assert sr.grad[..., :24].abs().max() < 1e-4
    assert sr.grad[..., 40:].abs().mean() > 0.1


def test_windows_are_even_and_inside_and_the_same_again() -> None:
    for iteration in range(50):
        rows, columns = random_window(33, 70, 64, seed=1, iteration=iteration, purpose=0)
        assert rows.stop - rows.start == columns.stop - columns.start == 32
        assert 0 <= rows.start < rows.stop <= 33
        assert 0 <= columns.start < columns.stop <= 70
        assert (rows, columns) == random_window(33, 70, 64, seed=1, iteration=iteration, purpose=0)


@pytest.mark.parametrize("other", [{"seed": 2}, {"iteration": 3}, {"purpose": 1}])
def test_another_iteration_seed_or_purpose_gives_another_window(other: dict[str, int]) -> None:
    usual = {"seed": 1, "iteration": 2, "purpose": 0}
    places = [random_window(500, 500, 64, **(usual | more)) for more in ({}, other)]
    assert places[0] != places[1]


def test_windows_come_at_every_phase_of_the_cells() -> None:
    starts = {random_window(128, 128, 112, seed=0, iteration=i, purpose=0)[0].start % 4 for i in range(60)}
    assert starts == {0, 1, 2, 3}
