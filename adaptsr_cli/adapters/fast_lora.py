"""A faster training step of low-rank updates: one product with W' forward, thin products backward.

Only for speed; may be skipped on first reading. The results are those of the parametrizations up to rounding.

A parametrization gives W' = W0 + s B A to autograd, which then makes the gradient of the whole weight, only for B and A
to be multiplied out of it. Here the layer's own backward pass makes them from the activations x and the gradient g of
the output, without any array of the weight's size:

    Linear       h = A x^T (r, N),  grad B = s (h g)^T,          grad A = s (B^T g^T) x
    convolution  h = A x (1x1),     grad B and h' as of s B h,   grad A = h' x^T

What is saved is x, and h of a Linear, whose A and B border W' so that A x^T and B^T g^T come with the two large
products as a few more columns: a step of SwinIR-M takes 5 % (one thread) to 8 % (four) less than with four thin
products. The others have the rank in front, (r, N) and not (N, r): with rows of 8 numbers the same product takes up to
five times as long on a CPU. For windows of more than one pixel h and its gradient are convolutions of r channels, which
takes less than unfolding h does. `benchmarks/speed/thin_products.py` times layers of both ways.

The adapters stay parametrizations of the weight: that is what is folded, saved, validated and resumed. Only within
`LowRankStep.weights` do the layers compute in this way. Other methods and layers keep their parametrization.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.utils import parametrize

from adaptsr_cli.adapters.attach import Attachment
from adaptsr_cli.adapters.factors import LowRankFactors
from adaptsr_cli.adapters.spec import AdaptedRows
from adaptsr_cli.backbones.fast.forwards import forwards_replaced
from adaptsr_cli.backbones.fast.linear import multiply_rows

_VECTOR: Final = 8  # bf16 numbers in 16 bytes, which tensor cores want rows to be multiples of
# Reading x and g once more takes as long as so many multiplications a number (`benchmarks/speed/thin_products.py`).
_PIXEL_COST: Final = 10
_WINDOW_COST: Final = 40


@dataclass(frozen=True)
class _Block:
    """One row block of a layer's weight.

    Attributes:
        first: Its first row.
        last: One past its last row.
        scaling: What B A is multiplied with.
    """

    first: int
    last: int
    scaling: float


@dataclass(frozen=True)
class _Window:
    """How a convolution goes over its input."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(cls, module: nn.Conv2d) -> _Window:
        """The window of a layer whose padding is given in numbers."""
        assert not isinstance(module.padding, str)
        return cls(module.kernel_size, module.stride, module.padding, module.dilation)

    @property
    def is_of_single_pixels(self) -> bool:
        """Whether each pixel of the result is made of one pixel, at the same place."""
        return (self.kernel, self.stride, self.padding) == ((1, 1), (1, 1), (0, 0))

    @property
    def geometry(self) -> dict[str, Any]:
        """What torch's backward pass of a convolution wants to know."""
        window = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return {**window, "transposed": False, "output_padding": (0, 0), "groups": 1}


class _LinearStep(torch.autograd.Function):
    """x W'^T + bias, with thin products for the factors' gradients.

    Two of the four thin products come with the large ones, whose matrices carry A and B as more rows and columns.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        bordered: Tensor,
        bias: Tensor | None,
        out: int,
        blocks: tuple[_Block, ...],
        *factors: Tensor,
    ) -> Tensor:
        """Compute the layer.

        Args:
            ctx: Of autograd.
            x: (..., in).
            bordered: (out + R, in + R): W' with all A below and all B to the right of it, as `_LinearLayer.refresh`
                has it.
            bias: (out + R,).
            out: Rows of W'.
            blocks: The adapted rows.
            factors: A (r, in) and B (out, r) of every block in turn.
        """
        inside = x.shape[-1]
        ranks = min(len(bordered) - out, bordered.shape[1] - inside)
        both = multiply_rows(x, bordered[:, :inside], bias)  # (..., out + R)
        ctx.save_for_backward(x, both[..., out : out + ranks].contiguous(), bordered, *factors)
        ctx.out = out
        ctx.blocks = blocks
        return both[..., :out]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of x and of the factors."""
        x, hidden, bordered, *factors = ctx.saved_tensors
        inside, ranks = x.shape[-1], hidden.shape[-1]
        given = gradients[0]
        gradient = given if given.dim() == 2 else given.reshape(-1, ctx.out)  # (N, out)
        rows, hidden = x.reshape(-1, inside), hidden.reshape(-1, ranks)
        columns = bordered[: ctx.out]
        if ctx.needs_input_grad[0]:
            both = multiply_rows(gradient, columns.t())  # (N, in + R)
            to_x, to_hidden = both[:, :inside].view(x.shape), both[:, inside : inside + ranks]
        else:
            to_x, to_hidden = None, torch.mm(gradient, columns[:, inside : inside + ranks])
        # The rank in front: with rows of 8 numbers the same product takes up to five times as long on a CPU.
        to_downs = torch.mm(to_hidden.t(), rows)  # (R, in)
        # One product for all blocks on CUDA, most of it for nothing: it costs less than to start one for each.
        together = gradient.device.type == "cuda" and len(ctx.blocks) > 1
        to_ups = torch.mm(hidden.t(), gradient) if together else gradient  # (R, out)
        found: list[Tensor] = []
        first = 0
        for block, down, up in zip(ctx.blocks, factors[::2], factors[1::2], strict=True):
            last = first + len(down)
            own, part = slice(first, last), slice(block.first, block.last)
            to_up = to_ups[own, part] if together else torch.mm(hidden[:, own].t(), gradient[:, part])  # (r, out)
            found.append(_like(to_downs[first:last], down, block.scaling))
            found.append(_like(to_up.t(), up, block.scaling))
            first = last
        return to_x, None, None, None, None, *found


def _like(gradient: Tensor, factor: Tensor, scaling: float) -> Tensor:
    """A factor's gradient in its type and shape, times the scaling."""
    whole = gradient.to(factor.dtype).reshape(factor.shape)
    return whole if scaling == 1 else whole * scaling


class _ConvStep(torch.autograd.Function):
    """The convolution with W', with thin products for the factors' gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        window: _Window,
        scaling: float,
        down: Tensor,
        up: Tensor,
    ) -> Tensor:
        """Compute the layer.

        Args:
            ctx: Of autograd.
            x: (B, Cin, H, W).
            weight: (Cout, Cin, k, k), W'.
            bias: (Cout,).
            window: Of the layer.
            scaling: What B A is multiplied with.
            down: A, (r, Cin, 1, 1).
            up: B, (Cout, r, k, k).
        """
        ctx.save_for_backward(x, weight, down, up)
        ctx.window, ctx.scaling = window, scaling
        return functional.conv2d(x, weight, bias, window.stride, window.padding, window.dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of x and of the factors."""
        x, weight, down, up = ctx.saved_tensors
        gradient = gradients[0]
        # Not `torch.nn.grad.conv2d_input`, which does not know the layout of x: the gradient must have it too, or all
        # of the backward pass before it works on numbers that lie apart.
        differentiate = partial(torch.ops.aten.convolution_backward, gradient, bias_sizes=None, **ctx.window.geometry)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = differentiate(x, weight, output_mask=(True, False, False))[0]
        images = _channels_first(x)  # (Cin, B H W)
        if ctx.window.is_of_single_pixels:
            outputs = _channels_first(gradient)
            to_up = torch.mm(torch.mm(down.flatten(1).to(x.dtype), images), outputs.t()).t()
            to_hidden = torch.mm(up.flatten(1).t().to(x.dtype), outputs)  # (r, B H W)
        else:
            hidden = functional.conv2d(x, down.to(x.dtype))  # (B, r, H, W)
            to_images, to_up, _ = differentiate(hidden, up.to(x.dtype), output_mask=(True, True, False))
            to_hidden = _channels_first(to_images)
        to_down = torch.mm(to_hidden, images.t())  # (r, Cin)
        return to_x, None, None, None, None, _like(to_down, down, ctx.scaling), _like(to_up, up, ctx.scaling)


def _channels_first(images: Tensor) -> Tensor:
    """Reshape (B, C, H, W) to (C, B H W), without a copy for channels-last images and for one image."""
    if len(images) == 1:
        return images[0].flatten(1) if images.is_contiguous() else images[0].permute(1, 2, 0).flatten(0, 1).t()
    return images.permute(0, 2, 3, 1).flatten(0, 2).t()


@dataclass(frozen=True)
class _LinearLayer:
    """A Linear that takes the thin products.

    Attributes:
        module: The layer.
        frozen: W0, (out, in).
        bordered: (out + R, in + R): W' of the present step, below it every A, to its right every B.
        bias: (out + R,), zeros behind the layer's own; none without one.
        parts: Row blocks with their factors; R is the sum of their ranks, filled up to whole vectors.
    """

    module: nn.Linear
    frozen: Tensor
    bordered: Tensor
    bias: Tensor | None
    parts: tuple[tuple[_Block, LowRankFactors], ...]

    @classmethod
    def of(cls, module: nn.Linear, frozen: Tensor, parts: tuple[tuple[_Block, LowRankFactors], ...]) -> _LinearLayer:
        """Make the layer with room for its factors."""
        ranks = -(-sum(factors.rank for _, factors in parts) // _VECTOR) * _VECTOR
        out, inside = frozen.shape
        # Tensor cores want the rows of W' and of the result at multiples of 16 bytes.
        below, right = (ranks + -(side + ranks) % _VECTOR * (frozen.device.type == "cuda") for side in (out, inside))
        bias = module.bias
        return cls(
            module,
            frozen,
            frozen.new_zeros(out + below, inside + right),
            None if bias is None else functional.pad(bias.detach(), (0, below)),
            parts,
        )

    @property
    def weight(self) -> Tensor:
        """W', (out, in)."""
        out, inside = self.frozen.shape
        return self.bordered[:out, :inside]

    @torch.no_grad()
    def refresh(self) -> None:
        """Copy the present values of the factors into `bordered`."""
        out, inside = self.frozen.shape
        self.weight.copy_(self.frozen)
        first = 0
        for block, factors in self.parts:
            last = first + factors.rank
            self.weight[block.first : block.last] += factors.delta()
            self.bordered[out + first : out + last, :inside] = factors.lora_A
            self.bordered[block.first : block.last, inside + first : inside + last] = factors.lora_B
            first = last

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer, of any shape that it takes."""
        x, bordered, bias = _autocast(x, self.bordered, self.bias)
        blocks = tuple(block for block, _ in self.parts)
        tensors = [tensor for _, factors in self.parts for tensor in (factors.lora_A, factors.lora_B)]
        return _LinearStep.apply(x, bordered, bias, len(self.frozen), blocks, *tensors)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _ConvLayer:
    """A convolution that takes the thin products.

    Attributes:
        module: The layer.
        frozen: W0.
        weight: W' of the present step.
        factors: Of the whole weight.
    """

    module: nn.Conv2d
    frozen: Tensor
    weight: Tensor
    factors: LowRankFactors

    @torch.no_grad()
    def refresh(self) -> None:
        """Compute W' from the present values of the factors."""
        torch.add(self.frozen, self.factors.delta(), out=self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer, of any shape that it takes."""
        x, weight, bias = _autocast(x, self.weight, self.module.bias)
        window, factors = _Window.of(self.module), self.factors
        return _ConvStep.apply(  # type: ignore[no-any-return]
            x, weight, bias, window, factors.scaling, factors.lora_A, factors.lora_B
        )


def _autocast(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cast the three to the type of autocast; leave them as they are without it."""
    if not torch.is_autocast_enabled(x.device.type):
        return x, weight, bias
    dtype = torch.get_autocast_dtype(x.device.type)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


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
        """Let the layers compute with the present values of the factors within this block.

        The factors may change only outside of it: W' is computed once, however many parts a batch has.
        """
        for layer in self._layers:
            layer.refresh()
        with forwards_replaced([(layer.module, layer.forward) for layer in self._layers]):
            yield


def _layer_of(module: nn.Module) -> _LinearLayer | _ConvLayer | None:
    """Make the fast layer of a module; None where others than plain factors adapt it, or where it would be slower."""
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
        parts.append((_Block(first, last, factors.scaling), factors))
    blocks = tuple(parts)
    if isinstance(module, nn.Linear):
        return _LinearLayer.of(module, frozen, blocks) if _all_thin(blocks, frozen) else None
    if frozen.device.type == "cuda":  # there the gradient of the whole weight takes less: SAFMN's step 6.2 and 8.4 ms
        return None
    if module.groups > 1 or module.padding_mode != "zeros" or isinstance(module.padding, str) or len(blocks) > 1:
        return None
    if not _all_thin(blocks, frozen):
        return None
    return _ConvLayer(module, frozen, torch.empty_like(frozen), blocks[0][1])


def _all_thin(blocks: tuple[tuple[_Block, LowRankFactors], ...], frozen: Tensor) -> bool:
    return all(_is_thin((block.last - block.first, *frozen.shape[1:]), factors.rank) for block, factors in blocks)


def _is_thin(shape: tuple[int, ...], rank: int) -> bool:
    """Tell whether the thin products take less than the gradient of the whole weight, by multiplications a pixel."""
    out, inside, *kernel = shape
    area = prod(kernel)
    moved = (_WINDOW_COST if area > 1 else _PIXEL_COST if kernel else 0) * (inside + out)
    # A convolution of few channels takes what one of a whole vector of them takes.
    ranks = -(-rank // _VECTOR) * _VECTOR if area > 1 else rank
    return 2 * ranks * (inside + out * area) + moved < inside * out * area
