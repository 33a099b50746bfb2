"""Parts of Swin-type blocks that have a kernel of our own on CUDA, forward and backward.

torch's attention kernels want heads of a multiple of 8 channels (SwinIR has 30), windows one behind the other and a
batch for each kind of mask, so that rolling, cutting, filling up and putting back took longer than attention itself.
Here a kernel finds the pixels of its window where they lie. Layer norm comes with the sum before it and the rounding
behind it, and gives rows that begin at multiples of 16 bytes, which is what fast products of matrices want.
`benchmarks/gpu_switches.py` races training and upscaling with and without them.
"""

from __future__ import annotations

import importlib.util
import os
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from adaptsr_cli.backbones.fast.forwards import FusedForward

_MOST_PIXELS: Final = 64  # of a window: all its scores are in registers
_MOST_DEPTH: Final = 64
_ALIGNED: Final = 8  # bf16 numbers in 16 bytes
_NORM_NUMBERS: Final = 4096  # in work in one program
_FILLED: Final = "adaptsr_filled"  # attribute of a tensor: how long its rows are with the zeros behind them
_HALVES: Final = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Grid:
    """How a batch of images is cut into windows.

    Attributes:
        batch: Number of images.
        height: Of an image in pixels, a multiple of the window.
        width: Likewise.
        window: Side of a window in pixels.
        shift: By how many pixels windows are shifted, in [0, window).
    """

    batch: int
    height: int
    width: int
    window: int
    shift: int


@cache
def has_kernels(device: torch.device) -> bool:
    """Whether the kernels run on a device; says so where they should and do not.

    That takes Triton, which comes with torch for CUDA, and a C compiler, by which Triton makes what starts a kernel.
    """
    if device.type == "cpu":
        return os.environ.get("TRITON_INTERPRET") == "1"
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    try:
        with torch.inference_mode(False), torch.no_grad():
            qkv, bias = (torch.zeros(shape, dtype=torch.float16, device=device) for shape in ((64, 48), (1, 1, 64, 64)))
            _attend(qkv, bias, Grid(1, 8, 8, 8, 0), 1, 1.0)
    except Exception as error:
        fault = str(error).strip().partition("\n")[0][:160] or type(error).__name__
        warnings.warn(f"Triton's kernels do not run here, attention is slower without: {fault}", stacklevel=2)
        return False
    return True


def can_attend(rows: Tensor, heads: int, window: int) -> bool:
    """Whether `attend` takes the queries, keys and values that are made of (N, C) rows."""
    fits = window**2 <= _MOST_PIXELS and rows.shape[1] // heads <= _MOST_DEPTH
    return fits and rows.dtype in (torch.float32, *_HALVES) and has_kernels(rows.device)


def attend(qkv: Tensor, biases: Tensor, grid: Grid, heads: int, scale: float) -> Tensor:
    """Softmax(scale Q K^T + bias) V within windows, of pixels that lie as in the image.

    Args:
        qkv: (B H W, 3 C): queries, keys and values; rows may lie further apart than they are long.
        biases: (kinds, 1, heads, N, N), contiguous, with 4 kinds where windows are shifted and else 1; no gradient.
        grid: The windows of N pixels.
        heads: Number of heads, a divisor of C.
        scale: What the scores are multiplied with.

    Returns:
        (B H W, C).
    """
    qkv = _with_rows(qkv)
    if torch.is_grad_enabled() and qkv.requires_grad:
        return _Attention.apply(qkv, biases, grid, heads, scale)  # type: ignore[no-any-return]
    return _attend(qkv, biases, grid, heads, scale)


def _attend(qkv: Tensor, biases: Tensor, grid: Grid, heads: int, scale: float) -> Tensor:
    from adaptsr_cli.backbones.fast import triton_kernels as kernels

    out = aligned_rows(len(qkv), qkv.shape[1] // 3, qkv)
    places = grid.height, grid.width, grid.shift, qkv.stride(0), out.stride(0), scale
    with _on(qkv.device):
        kernels.attend[_programs(grid, heads)](qkv, biases, out, *places, **_constants(qkv, grid, heads), num_warps=4)
    return out


class _Attention(torch.autograd.Function):
    """See `attend`."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, biases: Tensor, grid: Grid, heads: int, scale: float) -> Tensor:
        """The attended values."""
        ctx.save_for_backward(qkv, biases)
        ctx.grid, ctx.heads, ctx.scale = grid, heads, scale
        return _attend(qkv, biases, grid, heads, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of `qkv`."""
        from adaptsr_cli.backbones.fast import triton_kernels as kernels

        qkv, biases = ctx.saved_tensors
        grid, gradient = ctx.grid, _with_rows(gradients[0])
        found = aligned_rows(len(qkv), qkv.shape[1], qkv)
        pitches = qkv.stride(0), gradient.stride(0), found.stride(0)
        places = grid.height, grid.width, grid.shift, *pitches, ctx.scale
        with _on(qkv.device):
            kernels.attend_backward[_programs(grid, ctx.heads)](
                qkv, biases, gradient, found, *places, **_constants(qkv, grid, ctx.heads), num_warps=8
            )
        return found, None, None, None, None


def _programs(grid: Grid, heads: int) -> tuple[int, int]:
    return grid.batch * (grid.height // grid.window) * (grid.width // grid.window), heads


def _constants(qkv: Tensor, grid: Grid, heads: int) -> dict[str, Any]:
    depth, area = qkv.shape[1] // (3 * heads), grid.window**2
    return {
        "HEADS": heads,
        "DEPTH": depth,
        "SIDE": grid.window,
        "N": max(16, _power_of_two(area)),
        "D": max(16, _power_of_two(depth)),
        "SHIFTED": grid.shift > 0,
    }


def can_norm(x: Tensor, norm: nn.Module) -> bool:
    """Whether `add_norm` takes these rows and this layer: a frozen layer norm over the channels of float32."""
    if not (type(norm) is nn.LayerNorm and x.dtype == torch.float32 and x.is_contiguous() and has_kernels(x.device)):
        return False
    weight, bias = norm.weight, norm.bias
    plain = isinstance(weight, Tensor) and isinstance(bias, Tensor) and tuple(norm.normalized_shape) == x.shape[-1:]
    return plain and not (torch.is_grad_enabled() and (weight.requires_grad or bias.requires_grad))


def add_norm(x: Tensor, added: Tensor | None, norm: nn.LayerNorm, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """``x + added`` and its layer norm.

    Args:
        x: (N, C) float32, contiguous.
        added: (N, C) of any type, its rows perhaps further apart than they are long; None for nothing.
        norm: The layer, frozen.
        dtype: Of the norm.

    Returns:
        The sum, (N, C) float32, to be used in place of `x` from here on; and its norm, (N, C).
    """
    return _AddNorm.apply(x, added, norm.weight, norm.bias, norm.eps, dtype)  # type: ignore[no-any-return]


class _AddNorm(torch.autograd.Function):
    """See `add_norm`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, added: Tensor | None, weight: Tensor, bias: Tensor, epsilon: float, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """The sum and its norm."""
        from adaptsr_cli.backbones.fast import triton_kernels as kernels

        count, channels = x.shape
        keeps = any(ctx.needs_input_grad)
        added = None if added is None else _with_rows(added)
        total = x.view_as(x) if added is None else torch.empty_like(x)
        out = aligned_rows(count, channels, x, dtype)
        statistics = x.new_empty(2, count) if keeps else x
        source = x if added is None else added
        sizes = count, source.stride(0), out.stride(0), epsilon
        constants = _norm_constants(channels)
        with _on(x.device):
            kernels.add_norm[_norm_programs(count, constants)](
                x,
                source,
                total,
                weight,
                bias,
                out,
                statistics,
                *sizes,
                **constants,
                ADDS=added is not None,
                KEEPS=keeps,
            )
        if keeps:
            ctx.save_for_backward(total, statistics, weight)
        ctx.added = None if added is None else added.dtype
        return total, out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of `x` and of `added`."""
        from adaptsr_cli.backbones.fast import triton_kernels as kernels

        total, statistics, weight = ctx.saved_tensors
        to_total, to_out = (_with_rows(gradient) for gradient in gradients)
        count, channels = total.shape
        found = torch.empty_like(total)
        adds = ctx.added is not None
        to_added = aligned_rows(count, channels, total, ctx.added) if adds else found
        sizes = count, to_out.stride(0), to_total.stride(0), to_added.stride(0)
        constants = _norm_constants(channels)
        with _on(total.device):
            kernels.add_norm_backward[_norm_programs(count, constants)](
                total, statistics, weight, to_out, to_total, found, to_added, *sizes, **constants, ADDS=adds
            )
        return found, to_added if adds else None, None, None, None, None


def _norm_constants(channels: int) -> dict[str, int]:
    wide = _power_of_two(channels)
    return {"CHANNELS": channels, "C": wide, "ROWS": max(1, _NORM_NUMBERS // wide)}


def _norm_programs(count: int, constants: dict[str, int]) -> tuple[int]:
    return (-(-count // constants["ROWS"]),)


def aligned_rows(count: int, length: int, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Room for (count, length) numbers, each row at a multiple of 16 bytes; what it holds at first is undefined.

    Whoever writes it must write zeros between the rows, and `multiply_aligned` counts on that: for products of 184
    numbers there are kernels for Hopper's tensor cores, for those of 180 only slower ones.
    """
    dtype = dtype or like.dtype
    pitch = -(-length // _ALIGNED) * _ALIGNED if dtype in _HALVES else length
    rows = torch.empty(count, pitch, dtype=dtype, device=like.device)[:, :length]
    vars(rows)[_FILLED] = pitch
    return rows


def multiply_aligned(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A Linear layer in half precision on CUDA, its weight filled up so that all rows are aligned.

    Args:
        x: (..., in) bf16 or fp16.
        weight: (out, in) of any float type.
        bias: (out,) of any float type.

    Returns:
        (..., out); rows may lie further apart than they are long.
    """
    out, inside = weight.shape
    below = -out % _ALIGNED
    weight = weight.to(x.dtype)
    bias = None if bias is None else bias.to(x.dtype)
    rows, length = _filled_rows(x)
    if below or max(weight.stride()) % _ALIGNED:
        weight = nn.functional.pad(weight, (0, -inside % _ALIGNED, 0, below))
        bias = None if bias is None else nn.functional.pad(bias, (0, below))
    weight = _with_columns(weight, length)
    both = torch.mm(rows, weight.t()) if bias is None else torch.addmm(bias, rows, weight.t())
    result: Tensor = both[:, :out].unflatten(0, x.shape[:-1])
    return result


def _filled_rows(x: Tensor) -> tuple[Tensor, int]:
    """The tensor as (N, length), with the zeros behind its rows where there are such, and that length."""
    length = vars(x).get(_FILLED, x.shape[-1])
    wants_gradient = torch.is_grad_enabled() and x.requires_grad
    if length == x.shape[-1] or wants_gradient or x.dim() != 2 or x.stride() != (length, 1):
        return x.reshape(-1, x.shape[-1]), x.shape[-1]
    return x.as_strided((len(x), length), (length, 1)), length


def _with_columns(weight: Tensor, length: int) -> Tensor:
    """The weight with as many columns, those that are met by zeros being whatever lies there, or zeros."""
    count, inside = weight.shape
    if length <= inside:
        return weight[:, :length]
    down, right = weight.stride()
    last = weight.storage_offset() + (count - 1) * down + (length - 1) * right
    if (
        torch.is_grad_enabled() and weight.requires_grad
    ) or last >= weight.untyped_storage().nbytes() // weight.element_size():
        return nn.functional.pad(weight, (0, length - inside))
    return weight.as_strided((count, length), (down, right))


@dataclass(frozen=True)
class RowGelu(FusedForward):
    """GELU on rows that may lie apart, for which torch has no fast kernel.

    Attributes:
        layer: The layer.
    """

    layer: nn.GELU

    def __call__(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        fits = x.device.type != "cpu" and x.dim() == 2 and self.layer.approximate == "none" and x.dtype in _HALVES
        if not (fits and x.stride(-1) == 1 and has_kernels(x.device)):
            return nn.functional.gelu(x, approximate=self.layer.approximate)
        return gelu(x)


def gelu(x: Tensor) -> Tensor:
    """GELU of (N, C) rows, which may lie further apart than they are long."""
    return _Gelu.apply(x)  # type: ignore[no-any-return]


class _Gelu(torch.autograd.Function):
    """See `gelu`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """The values."""
        from adaptsr_cli.backbones.fast import triton_kernels as kernels

        ctx.save_for_backward(x)
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        constants = _norm_constants(x.shape[1])
        with _on(x.device):
            kernels.gelu[_norm_programs(len(x), constants)](x, out, len(x), x.stride(0), **constants)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The gradient of `x`."""
        from adaptsr_cli.backbones.fast import triton_kernels as kernels

        (x,), gradient = ctx.saved_tensors, _with_rows(gradients[0])
        found = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        constants = _norm_constants(x.shape[1])
        sizes = len(x), x.stride(0), gradient.stride(0)
        with _on(x.device):
            kernels.gelu_backward[_norm_programs(len(x), constants)](x, gradient, found, *sizes, **constants)
        return found


def _with_rows(x: Tensor) -> Tensor:
    """The tensor, or a copy where the numbers of a row do not lie together."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _power_of_two(count: int) -> int:
    return int(1 << (count - 1).bit_length())


def _on(device: torch.device) -> Any:
    """Triton starts kernels on the current device."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
