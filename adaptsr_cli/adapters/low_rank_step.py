"""The training step of low-rank updates: one product with W' forward, thin products backward.

A parametrization gives W' = W0 + s B A to autograd, which then makes the gradient of the whole weight, only for B and A
to be multiplied out of it. Here the layer's own backward pass makes them from the activations x and the gradient g of
the output, without any array of the weight's size:

    Linear       h = A x^T (r, N),  grad B = s (h g)^T,          grad A = s (B^T g^T) x
    convolution  h = A x (1x1),     grad B = s unfold(h) g^T,    grad A = s fold(B^T g) x^T

What is saved is x alone. The thin products have the rank in front, (r, N) and not (N, r): with rows of 8 numbers the
same product takes up to five times as long on a CPU. Measured (one thread of an EPYC 9xx4, fp32, rank 8, 4,096 pixels,
milliseconds for the gradients of A and B; full-size means the gradient of the whole weight alone):

    layer                   full-size   thin
    Linear 180 -> 180             3.3    0.8
    Linear 180 -> 540             9.8    2.1   (three row blocks, one product forward)
    Linear 360 -> 180             5.8    1.2
    conv 3x3, 180 -> 180         25.8    4.1
    conv 3x3, 64 -> 256          11.8    4.2
    conv 3x3, 64 -> 3            11.1   35.2   (at 256 x 256; stays a parametrization, as `_is_thin` says)

The adapters stay parametrizations of the weight: that is what is folded, saved, validated and resumed. Only within
`LowRankStep.weights` do the layers compute in this way. Other methods and layers keep their parametrization.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_input
from torch.nn.utils import parametrize

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.adapters.lora import LowRankFactors
from adaptsr_cli.adapters.parametrization import AdaptedRows
from adaptsr_cli.backbones.forwards import forwards_replaced
from adaptsr_cli.backbones.linear import multiply_rows

_UNFOLD_COST: Final = 64  # moving one number of an unfolded window about takes as long as so many multiplications


@dataclass(frozen=True)
class _Block:
    """One row block of a layer's weight.

    Attributes:
        first: Its first row.
        last: One past its last row.
        strength: What B A is multiplied with.
    """

    first: int
    last: int
    strength: float


@dataclass(frozen=True)
class _Window:
    """How a convolution goes over its input."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]


class _LinearStep(torch.autograd.Function):
    """x W'^T + bias, with thin products for the factors' gradients."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, blocks: tuple[_Block, ...], *factors: Tensor
    ) -> Tensor:
        """Computes the layer.

        Args:
            ctx: Of autograd.
            x: (..., in).
            weight: (out, in), W'.
            bias: (out,).
            blocks: The adapted rows.
            factors: A (r, in) and B (out, r) of every block in turn.
        """
        ctx.save_for_backward(x, weight, *factors)
        ctx.blocks = blocks
        return multiply_rows(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x and of the factors."""
        x, weight, *factors = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, weight.shape[0])  # (N, out)
        rows = x.reshape(-1, weight.shape[1])  # (N, in)
        to_x = multiply_rows(gradient, weight.t()).view(x.shape) if ctx.needs_input_grad[0] else None
        downs, ups = factors[::2], factors[1::2]
        # One product for all row blocks: they have the same input.
        hidden = torch.mm(torch.cat([down.to(x.dtype) for down in downs]), rows.t())  # (sum of ranks, N)
        to_hidden = []
        found: list[Tensor] = []
        position = 0
        for block, down, up in zip(ctx.blocks, downs, ups, strict=True):
            own = gradient[:, block.first : block.last]
            to_hidden.append(torch.mm(up.t().to(x.dtype), own.t()).mul_(block.strength))  # (r, N)
            to_up = torch.mm(hidden[position : position + len(down)], own)  # (r, out)
            found += [down, to_up.t().to(up.dtype) * block.strength]
            position += len(down)
        to_downs = torch.mm(torch.cat(to_hidden), rows).to(downs[0].dtype)  # (sum of ranks, in)
        found[::2] = to_downs.split([len(down) for down in downs])
        return to_x, None, None, None, *found


class _ConvStep(torch.autograd.Function):
    """The convolution with W', with thin products for the factors' gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        window: _Window,
        strength: float,
        down: Tensor,
        up: Tensor,
    ) -> Tensor:
        """Computes the layer.

        Args:
            ctx: Of autograd.
            x: (B, Cin, H, W).
            weight: (Cout, Cin, k, k), W'.
            bias: (Cout,).
            window: Of the layer.
            strength: What B A is multiplied with.
            down: A, (r, Cin, 1, 1).
            up: B, (Cout, r, k, k).
        """
        ctx.save_for_backward(x, weight, down, up)
        ctx.window, ctx.strength = window, strength
        return functional.conv2d(x, weight, bias, window.stride, window.padding, window.dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x and of the factors."""
        x, weight, down, up = ctx.saved_tensors
        window: _Window = ctx.window
        gradient = gradients[0]
        to_x = None
        if ctx.needs_input_grad[0]:
            geometry = (window.stride, window.padding, window.dilation)
            to_x = conv2d_input(x.shape, weight, gradient, *geometry)
        batch, _, height, width = x.shape
        rank = len(down)
        images = _channels_first(x)  # (Cin, B H W)
        outputs = _channels_first(gradient)  # (Cout, B L)
        hidden = torch.mm(down.flatten(1).to(x.dtype), images)  # (r, B H W)
        hidden = hidden.view(rank, batch, height, width).transpose(0, 1)
        # (B, r k k, L) -> (r k k, B L)
        columns = functional.unfold(hidden, window.kernel, window.dilation, window.padding, window.stride)
        columns = columns.transpose(0, 1).reshape(up[0].numel(), -1)
        to_up = torch.mm(columns, outputs.t()).t().to(up.dtype).view(up.shape) * ctx.strength
        to_columns = torch.mm(up.flatten(1).t().to(x.dtype), outputs)  # (r k k, B L)
        to_columns = to_columns.view(len(to_columns), batch, -1).transpose(0, 1)
        size = (height, width)
        to_hidden = functional.fold(
            to_columns, size, window.kernel, window.dilation, window.padding, window.stride
        )  # (B, r, H, W)
        to_down = torch.mm(_channels_first(to_hidden), images.t()).to(down.dtype).view(down.shape) * ctx.strength
        return to_x, None, None, None, None, to_down, to_up


def _channels_first(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (C, B H W), without a copy for channels-last images and for one image."""
    if len(images) == 1:
        return images[0].flatten(1) if images.is_contiguous() else images[0].permute(1, 2, 0).flatten(0, 1).t()
    return images.permute(0, 2, 3, 1).flatten(0, 2).t()


@dataclass(frozen=True)
class _Layer:
    """One layer that takes the thin products.

    Attributes:
        module: The layer.
        frozen: W0.
        weight: W' of the present step.
        parts: Row blocks with their factors.
    """

    module: nn.Linear | nn.Conv2d
    frozen: Tensor
    weight: Tensor
    parts: tuple[tuple[_Block, LowRankFactors], ...]

    @torch.no_grad()
    def refresh(self) -> None:
        """Computes W' anew."""
        self.weight.copy_(self.frozen)
        for block, factors in self.parts:
            self.weight[block.first : block.last] += factors.delta()

    def forward(self, x: Tensor) -> Tensor:
        """What the layer computes, of any shape that it takes."""
        weight, bias = self.weight, self.module.bias
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        if isinstance(self.module, nn.Linear):
            blocks = tuple(block for block, _ in self.parts)
            tensors = [tensor for _, factors in self.parts for tensor in (factors.lora_A, factors.lora_B)]
            return _LinearStep.apply(x, weight, bias, blocks, *tensors)  # type: ignore[no-any-return]
        ((block, factors),) = self.parts
        return _ConvStep.apply(  # type: ignore[no-any-return]
            x, weight, bias, _window_of(self.module), block.strength, factors.lora_A, factors.lora_B
        )


class LowRankStep:
    """The layers of an attachment for which the thin products pay.

    Args:
        attachment: Adapters of any method; those that are not low-rank are left as they are.
    """

    def __init__(self, attachment: Attachment) -> None:
        found = (_layer_of(attachment.model.get_submodule(name)) for name, _ in attachment.places)
        self._layers = [layer for layer in found if layer is not None]

    def __len__(self) -> int:
        """Number of layers."""
        return len(self._layers)

    @contextmanager
    def weights(self) -> Iterator[None]:
        """Within this block, the layers compute with W' as the factors are now.

        The factors may change only outside of it: W' is computed once, however many parts a batch has.
        """
        for layer in self._layers:
            layer.refresh()
        with forwards_replaced([(layer.module, layer.forward) for layer in self._layers]):
            yield


def _layer_of(module: nn.Module) -> _Layer | None:
    """The layer, where all that adapts it are plain factors and thin products pay."""
    if not isinstance(module, nn.Linear | nn.Conv2d) or parametrize.is_parametrized(module, "bias"):
        return None
    chains = module.parametrizations
    assert isinstance(chains, nn.ModuleDict)
    chain = chains["weight"]
    assert isinstance(chain, parametrize.ParametrizationList)
    adapted, frozen = chain[0], chain.original
    if len(chain) > 1 or not isinstance(adapted, AdaptedRows):
        return None
    assert isinstance(frozen, Tensor)
    parts = []
    for rows, factors in zip(adapted.rows, adapted.adapters, strict=True):
        if type(factors) is not LowRankFactors:
            return None
        first, last = rows or (0, len(frozen))
        parts.append((_Block(first, last, factors.strength), factors))
    kernel: tuple[int, ...] = ()
    if isinstance(module, nn.Conv2d):
        kernel = module.kernel_size
        if module.groups > 1 or module.padding_mode != "zeros" or isinstance(module.padding, str) or len(parts) > 1:
            return None
    if not all(_is_thin(block.last - block.first, frozen.shape[1], kernel, factors.rank) for block, factors in parts):
        return None
    return _Layer(module, frozen, torch.empty_like(frozen), tuple(parts))


def _is_thin(out: int, inside: int, kernel: tuple[int, ...], rank: int) -> bool:
    """Whether the thin products take less than the gradient of the whole weight, by multiplications a pixel."""
    area = 1
    for size in kernel:
        area *= size
    moved = area if area > 1 else 0
    return rank * (2 * (inside + out * area) + _UNFOLD_COST * moved) < inside * out * area


def _window_of(module: nn.Conv2d) -> _Window:
    assert not isinstance(module.padding, str)
    return _Window(module.kernel_size, module.stride, module.padding, module.dilation)
