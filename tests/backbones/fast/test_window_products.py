"""Attention within windows as plain products is torch's attention, gradients included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adaptsr_cli.backbones.fast import window_products
from adaptsr_cli.backbones.fast.window_products import WindowKinds, attend_in_windows

KINDS = WindowKinds((5, 1, 3), (0, 2, 3))
SCALE = 0.3


def by_torch(qkv: Tensor, biases: Tensor, windows: WindowKinds, heads: int, scale: float) -> Tensor:
    found = []
    for part, kind in zip(qkv.split(windows.counts), windows.kinds, strict=True):
        query, key, value = part.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        mask = biases[kind].expand(len(part), -1, -1, -1)
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        found.append(out.transpose(1, 2).flatten(2))
    return torch.cat(found)


@pytest.mark.parametrize("depth", [5, 16, 30])  # less than a vector, one, and no whole number of them
@pytest.mark.parametrize("piece_bytes", [1, 2 * 2 * 16 * 16 * 4, 2**21])  # one window, two, all at a time
def test_it_is_the_attention_of_torch(depth: int, piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_products, "_PIECE_BYTES", piece_bytes)
    heads, pixels = 2, 16
    qkv = torch.randn(9, pixels, 3 * heads * depth)
    biases = torch.randn(4, 1, heads, pixels, pixels)
    biases[3, ..., ::2] = -100  # masked
    direction = torch.randn(9, pixels, heads * depth)
    results = []
    for attend in (attend_in_windows, by_torch):
        leaf = qkv.clone().requires_grad_(True)
        out = attend(leaf, biases, KINDS, heads, SCALE)
        out.backward(direction)
        results.append((out.detach(), leaf.grad))
    (found, gradient), (expected, expected_gradient) = results
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=1e-5)


def test_it_takes_numbers_that_lie_apart() -> None:
    """As the layer before gives them: a few columns of a wider product."""
    wide = torch.randn(9, 16, 3 * 2 * 5 + 7)
    apart = wide[..., :30]
    biases = torch.randn(4, 1, 2, 16, 16)
    expected = attend_in_windows(apart.contiguous(), biases, KINDS, 2, SCALE)
    assert torch.equal(attend_in_windows(apart, biases, KINDS, 2, SCALE), expected)


def test_scores_are_not_kept() -> None:
    """What is saved for the backward pass grows with the pixels of a window, not with their square."""
    saved: list[Tensor] = []
    qkv = torch.randn(9, 256, 3 * 2 * 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        attend_in_windows(qkv, torch.zeros(4, 1, 2, 256, 256), KINDS, 2, SCALE)
    assert sum(tensor.numel() for tensor in saved) == qkv.numel() + 4 * 2 * 256 * 256
