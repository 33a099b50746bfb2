"""Linear layers on the CPU through oneDNN.

torch hands `functional.linear` in fp32 to MKL, which is tuned for Intel's processors; its convolutions go to oneDNN,
which is fast on all x86. A Linear on rows is a 1x1 convolution of channels-last images made of these rows, without a
copy. Measured on an AMD EPYC (one thread, 4,096 rows, milliseconds, Linear and convolution): 180 -> 540 13.1 and 9.1,
540 -> 180 11.8 and 8.7, 180 -> 180 4.2 and 3.5, 360 -> 180 8.4 and 6.3. torch takes oneDNN for a 1x1 convolution only
if there are more than 16 images, hence the shape below.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptsr_cli.backbones.fast.forwards import FusedForward, fuse
from adaptsr_cli.backbones.fast.on_cuda import multiply_aligned

_ROWS_AN_IMAGE: Final = 64
_MIN_IMAGES: Final = 17
_IS_X86: Final = platform.machine().lower() in ("x86_64", "amd64")


def multiply_rows(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What `functional.linear` gives, up to rounding, by the faster of the two libraries.

    Args:
        x: (..., in) of any device and type.
        weight: (out, in).
        bias: (out,).

    Returns:
        (..., out), contiguous where `x` is; but in half precision on CUDA its rows may lie further apart than they are
        long.
    """
    if x.device.type == "cuda":
        dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x.dtype
        if dtype != torch.float32:
            return multiply_aligned(x.to(dtype), weight, bias)
    count = x.numel() // x.shape[-1] if x.shape[-1] else 0
    if (
        not _IS_X86
        or x.device.type != "cpu"
        or x.dtype != torch.float32
        or not x.is_contiguous()
        or count % _ROWS_AN_IMAGE
        or count < _ROWS_AN_IMAGE * _MIN_IMAGES
        or torch.is_autocast_enabled("cpu")
        or not torch.backends.mkldnn.is_available()
    ):
        return functional.linear(x, weight, bias)
    images = x.view(-1, _ROWS_AN_IMAGE, 1, x.shape[-1]).permute(0, 3, 1, 2)  # (count / 64, in, 64, 1)
    out = functional.conv2d(images, weight[:, :, None, None], bias)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def multiply_pixels(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    """A convolution of single pixels as a product of rows, on images whose channels lie together; None for others.

    With one thread torch computes it without oneDNN where a batch has fewer than 16 images.

    Args:
        x: (B, in, H, W).
        weight: (out, in, 1, 1).
        bias: (out,).

    Returns:
        (B, out, H, W), whose channels lie together.
    """
    if x.dim() != 4 or x.device.type != "cpu" or not x.permute(0, 2, 3, 1).is_contiguous():
        return None
    return multiply_rows(x.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class PixelProduct(FusedForward):
    """The forward pass of a convolution of single pixels by `multiply_pixels`.

    Attributes:
        layer: The layer, which keeps its parameters.
        in_training: Whether also where gradients are wanted.
    """

    layer: nn.Conv2d
    in_training: bool

    def __call__(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        is_ours = self.in_training or not torch.is_grad_enabled()
        out = multiply_pixels(x, self.layer.weight, self.layer.bias) if is_ours else None
        return self.layer._conv_forward(x, self.layer.weight, self.layer.bias) if out is None else out


def fuse_pixel_products(model: nn.Module, *, in_training: bool) -> int:
    """Let the convolutions of single pixels of a network run as products of rows.

    Args:
        model: The network.
        in_training: Whether also where gradients are wanted. Their sums over a batch then depend more on how it is
            divided, which Adam magnifies: not for networks that train fast as they are.

    Returns:
        How many there are.
    """
    layers = [module for module in model.modules() if type(module) is nn.Conv2d and _is_of_single_pixels(module)]
    for layer in layers:
        fuse(layer, PixelProduct(layer, in_training))
    return len(layers)


def _is_of_single_pixels(layer: nn.Conv2d) -> bool:
    return (layer.kernel_size, layer.stride, layer.groups) == ((1, 1), (1, 1), 1) and layer.padding in ((0, 0), "same")


@dataclass(frozen=True)
class RowProduct(FusedForward):
    """The forward pass of a Linear layer by `multiply_rows`.

    Attributes:
        layer: The layer, which keeps its parameters.
    """

    layer: nn.Linear

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return multiply_rows(x, self.layer.weight, self.layer.bias)
