"""Convolutions that published code keeps as a product of three and a skip (SPAN's Conv3XC): here one convolution each.

The network in memory has the product alone, under the name that the published code keeps it by. So it is the product
that is adapted: a rank is a rank of what inference computes, and a training step costs one convolution instead of four.
Published code computes the product anew from its factors, so a file must hold factors that give it: `factorise`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

FACTORS: Final = ("conv.0", "conv.1", "conv.2", "sk")
"""Names of the published layers: 1x1, 3x3 and 1x1 in a row, and the 1x1 beside them."""

_PRODUCT: Final = "eval_conv"
_REACHED: Final = 1e-6
_ROUNDING: Final = 1e-5  # by which products of the same factors may differ, of the largest value


class ProductConv(nn.Module):
    """The one convolution that a published Conv3XC computes in eval mode.

    Attributes:
        eval_conv: The product, with its bias.
    """

    def __init__(self, published: nn.Module) -> None:
        super().__init__()
        layer: Any = published
        with torch.no_grad():
            stored = [parameter.clone() for parameter in layer.eval_conv.parameters()]
            layer.update_params()  # what the file holds of the product may be out of date
            for parameter, own in zip(layer.eval_conv.parameters(), stored, strict=True):
                # Else an adapted product, of which the file has the factors too, would be rounded anew.
                if float((parameter - own).abs().max()) <= _ROUNDING * float(parameter.abs().max()):
                    parameter.copy_(own)
        self.eval_conv: nn.Conv2d = layer.eval_conv
        self._negative_slope = 0.05 if layer.has_relu else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, Cin, H, W) -> (B, Cout, H, W)."""
        out: Tensor = self.eval_conv(x)
        return out if self._negative_slope is None else functional.leaky_relu(out, self._negative_slope)


def fuse_products(model: nn.Module) -> None:
    """Put the product in the place of its factors, everywhere in a network."""
    for name, module in list(model.named_modules()):
        if type(module).__name__ == "Conv3XC":
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, ProductConv(module))


def product_of(model: nn.Module, tensor_name: str) -> str | None:
    """The name of the layer whose product a tensor belongs to; None where it is a tensor of its own."""
    name = tensor_name.rpartition(".")[0].removesuffix(f".{_PRODUCT}")
    return name if isinstance(model.get_submodule(name), ProductConv) else None


def factorise(product: nn.Conv2d, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Find factors that give a product and are near the published ones.

    The 3x3 kernel takes up what the product has changed by, and the last bias what its bias has. Where the 1x1 kernels
    around it lack the rank for that, they become identities and the 3x3 kernel the product.

    Args:
        product: The adapted layer, (Cout, Cin, 3, 3) with bias.
        published: Weight and bias of `FACTORS` as the file has them.

    Returns:
        The same names, in the shapes and dtypes of `published`.
    """
    assert product.bias is not None
    wanted, wanted_bias = product.weight.detach().double().cpu(), product.bias.detach().double().cpu()
    found = {name: tensor.double() for name, tensor in published.items()}
    change = wanted - _multiply(found)
    before, after = found["conv.0.weight"].flatten(1), found["conv.2.weight"].flatten(1)
    inner = torch.einsum("po,oihw,iq->pqhw", torch.linalg.pinv(after), change, torch.linalg.pinv(before))
    found["conv.1.weight"] = found["conv.1.weight"] + inner
    if float((wanted - _multiply(found)).abs().max()) > _REACHED * float(wanted.abs().max()):
        found = {name: torch.zeros_like(tensor) for name, tensor in found.items()}
        nn.init.eye_(found["conv.0.weight"].flatten(1))  # (a Cin, Cin) of (a Cin, Cin, 1, 1): a view
        nn.init.eye_(found["conv.2.weight"].flatten(1))  # (Cout, a Cout)
        found["conv.1.weight"][: wanted.shape[0], : wanted.shape[1]] = wanted
    rounded = {name: tensor.to(published[name].dtype) for name, tensor in found.items()}
    last = {name: tensor.double() for name, tensor in rounded.items()}
    missing = wanted_bias - _multiply_biases(last)
    rounded["conv.2.bias"] = (last["conv.2.bias"] + missing).to(published["conv.2.bias"].dtype)
    return rounded


def _multiply(factors: Mapping[str, Tensor]) -> Tensor:
    """The product, (Cout, Cin, 3, 3)."""
    first, middle, last = (factors[f"conv.{number}.weight"] for number in range(3))
    product = torch.einsum("op,pqhw,qi->oihw", last.flatten(1), middle, first.flatten(1))
    product[:, :, 1, 1] += factors["sk.weight"].flatten(1)
    return product


def _multiply_biases(factors: Mapping[str, Tensor]) -> Tensor:
    """The bias of the product, (Cout,)."""
    inner = factors["conv.1.weight"].sum((2, 3)) @ factors["conv.0.bias"] + factors["conv.1.bias"]
    return factors["conv.2.weight"].flatten(1) @ inner + factors["conv.2.bias"] + factors["sk.bias"]
