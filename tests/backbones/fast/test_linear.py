"""Products of rows through oneDNN are the products of `functional.linear`."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from adaptsr_cli.backbones.fast.linear import RowProduct, fuse_pixel_products, multiply_rows


@pytest.mark.parametrize("shape", [(2048, 6), (40, 64, 6), (1, 1088, 6), (100, 6), (3, 5, 6), (0, 6)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_it_is_the_linear_layer(shape: tuple[int, ...], has_bias: bool) -> None:
    x, weight, bias = torch.randn(shape), torch.randn(10, 6), torch.randn(10) if has_bias else None
    found = multiply_rows(x, weight, bias)
    torch.testing.assert_close(found, functional.linear(x, weight, bias), atol=1e-5, rtol=1e-5)
    assert found.is_contiguous()


def test_rows_that_lie_apart_and_other_types_are_taken_as_they_are() -> None:
    weight = torch.randn(10, 6)
    apart = torch.randn(6, 2048).t()
    torch.testing.assert_close(multiply_rows(apart, weight), apart @ weight.t(), atol=1e-5, rtol=1e-5)
    double = torch.randn(2048, 6, dtype=torch.float64)
    assert multiply_rows(double, weight.double()).dtype == torch.float64


def test_it_is_differentiable() -> None:
    layer = nn.Linear(6, 10)
    x = torch.randn(2048, 6, requires_grad=True)
    wanted = (x, layer.weight, layer.bias)
    found = torch.autograd.grad(RowProduct(layer)(x).square().sum(), wanted)
    expected = torch.autograd.grad(layer(x).square().sum(), wanted)
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("size", [(32, 40), (5, 7)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_convolution_of_single_pixels_is_a_product_of_rows(
    size: tuple[int, int], layout: torch.memory_format
) -> None:
    layer = nn.Conv2d(6, 10, 1)
    x = torch.randn(1, 6, *size).contiguous(memory_format=layout).requires_grad_()
    expected = layer(x)
    expected_gradients = torch.autograd.grad(expected.square().sum(), (x, *layer.parameters()))
    model = nn.Sequential(layer, nn.Conv2d(6, 6, 1, groups=2), nn.Conv2d(6, 6, 1, stride=2))
    assert fuse_pixel_products(model, in_training=True) == 1
    found = layer(x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found.is_contiguous(memory_format=layout)
    gradients = torch.autograd.grad(found.square().sum(), (x, *layer.parameters()))
    for ours, plain in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-3, rtol=1e-4)
