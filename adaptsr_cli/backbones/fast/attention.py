"""Window attention of Swin-type networks (SwinIR, DRCT, HAT), computed faster; parameters and results stay the same.

A block as published rolls, cuts into windows, gathers its relative-position biases, builds the mask of shifted windows
anew for every image size, and holds four arrays of the size of all attention scores. Here

* one gather rolls and cuts, and another one puts back; where they go is computed once per size for all blocks;
* a window has one of four masks (inside, at the right or lower edge, in the corner). Windows are ordered by mask, so
  that bias and mask are one small array per kind, computed once, and no array of masks has the size of the scores;
* attention is `scaled_dot_product_attention`, which never holds the scores, in the backward pass neither; in training
  on the CPU it is our own form of it (`adaptsr_cli.backbones.fast.window_products`);
* Linear layers run through oneDNN on the CPU (`adaptsr_cli.backbones.fast.linear`).

The blocks keep their modules, so names, checkpoints, hooks and parametrizations are as before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptsr_cli.backbones.fast.forwards import FusedForward, fuse
from adaptsr_cli.backbones.fast.linear import RowProduct
from adaptsr_cli.backbones.fast.on_cuda import Grid, RowGelu, add_norm, attend, can_attend, can_norm
from adaptsr_cli.backbones.fast.window_products import WindowKinds, attend_in_windows

_MASKED: Final = -100.0  # what the networks add to the scores of pixels that are no neighbours; e^-100 is 0 in fp32
_MAX_SIZES: Final = 16
# Windows that a block on the CPU takes at a time where no gradient is wanted: what lies between its layers stays in the
# cache then. SwinIR on 128 pixels squared, one thread: 246 us a pixel for 8, 242 for 16, 232 for 64, 262 for all, 502
# as published; all at once is slower the larger the image is.
_PIECE_WINDOWS: Final = 64
_MOST_WINDOWS: Final = 32768
_BLOCKS: Final = ("SwinTransformerBlock", "HAB")
_NEEDED: Final = ("norm1", "norm2", "attn", "mlp", "drop_path", "window_size", "shift_size")


@dataclass(frozen=True)
class _Order:
    """Where the pixels of a batch go.

    Attributes:
        there: (B H W,) int64: window by window, the windows ordered by their kind of mask, the index of each pixel.
        back: (B H W,) int64, its inverse.
        windows: How many there are of each kind, none zero: 0 inside, 1 at the right, 2 at the bottom, 3 in the corner.
    """

    there: Tensor
    back: Tensor
    windows: WindowKinds


def _make_order(batch: int, height: int, width: int, window: int, shift: int, device: torch.device) -> _Order:
    pixels = torch.arange(height * width, device=device).view(height, width).roll((-shift, -shift), (0, 1))
    rows, columns = height // window, width // window
    cut = pixels.view(rows, window, columns, window).transpose(1, 2).reshape(rows, columns, window * window)
    images = torch.arange(batch, device=device).view(-1, 1, 1) * (height * width)
    # By slices, whose sizes are known, not by masks, which a device would have to be waited for.
    inside = (cut[:-1, :-1], cut[:-1, -1:], cut[-1:, :-1], cut[-1:, -1:]) if shift else (cut,)
    groups = [(part.reshape(-1, window * window) + images).flatten() for part in inside]
    there = torch.cat(groups)
    back = torch.empty_like(there)
    back[there] = torch.arange(len(there), device=device)
    counts = [len(group) // window**2 for group in groups]
    kinds = tuple(number for number, count in enumerate(counts) if count)
    return _Order(there, back, WindowKinds(tuple(counts[number] for number in kinds), kinds))


@dataclass
class _Orders:
    """The orders of the sizes seen last, shared by all blocks of a network."""

    known: dict[tuple[int, int, int, int, int, torch.device], _Order] = field(default_factory=dict)

    def of(self, batch: int, height: int, width: int, window: int, shift: int, device: torch.device) -> _Order:
        key = (batch, height, width, window, shift, device)
        found = self.known.get(key)
        if found is None:
            while len(self.known) >= _MAX_SIZES:
                self.known.pop(next(iter(self.known)))
            # Tensors made in inference mode could never be used in training.
            with torch.inference_mode(False):
                found = self.known[key] = _make_order(*key)
        return found


class _Reorder(torch.autograd.Function):
    """Rows in another order; unlike `index_select` its gradient needs no array of zeros to add to."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, there: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(there, back)
        return rows.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        there, back = ctx.saved_tensors
        return _Reorder.apply(gradients[0], back, there), None, None


@dataclass
class _Biases:
    """What a block adds to its scores, made anew only when it changes.

    Attributes:
        key: What the kept values were made of.
        values: (4, 1, heads, N, N), one for each kind of window; (1, ...) without a shift.
    """

    key: tuple[object, ...] = ()
    values: Tensor | None = None

    def of(self, attention: nn.Module, index: Tensor, window: int, shift: int, like: Tensor) -> Tensor:
        """The biases for scores of the type and device of `like`.

        Args:
            attention: Has `relative_position_bias_table`, ((2 w - 1)^2, heads).
            index: (N, N) int64 rows of that table.
            window: Side w of a window in pixels; N = w w.
            shift: By how many pixels windows are shifted, in [0, w).
            like: The queries.
        """
        table = attention.relative_position_bias_table
        assert isinstance(table, Tensor)
        # Whether a tensor made in inference mode was written to cannot be told, so nothing is kept of it.
        version = None if table.is_inference() else table._version
        key = (table.untyped_storage()._cdata, version, window, shift, like.dtype, like.device)
        if self.values is None or version is None or self.key != key:
            with torch.inference_mode(False), torch.no_grad():
                relative = table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1)  # (heads, N, N)
                masks = _masks(window, shift, table.device)
                self.values = (relative + masks[:, None])[:, None].to(like.dtype).contiguous()
            self.key = key
        return self.values


def _masks(window: int, shift: int, device: torch.device) -> Tensor:
    """(4, N, N) masks of the kinds of windows; (1, N, N) zeros without a shift."""
    if not shift:
        return torch.zeros(1, window**2, window**2, device=device)
    late = torch.arange(window, device=device) >= window - shift
    column, row = late.repeat(window), late.repeat_interleave(window)
    apart = [torch.zeros_like(column), column, row, column + 2 * row]
    return torch.stack([(part[:, None] != part[None, :]) * _MASKED for part in apart])


def _attend(qkv: Tensor, biases: Tensor, order: _Order, heads: int, scale: float) -> Tensor:
    """Attention within windows.

    Args:
        qkv: (W, N, 3 C), the windows ordered by kind.
        biases: As `_Biases` gives them.
        order: Of these windows.
        heads: Number of heads.
        scale: What the scores are multiplied with.

    Returns:
        (W, N, C).
    """
    if qkv.device.type == "cpu" and qkv.dtype == torch.float32 and qkv.requires_grad:
        return attend_in_windows(qkv, biases, order.windows, heads, scale)
    kinds = zip(qkv.split(order.windows.counts), order.windows.kinds, strict=True)
    parts = [_attend_kind(part, biases[kind], heads, scale) for part, kind in kinds]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attend_kind(qkv: Tensor, bias: Tensor, heads: int, scale: float) -> Tensor:
    """`_attend` for windows of one kind; `bias` is (1, heads, N, N)."""
    windows, pixels, width = qkv.shape
    parts = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    depth = parts.shape[-1]
    if qkv.device.type == "cuda" and depth % 8:
        # Else torch takes a path that holds all scores in float32: twice the time of the whole network (SwinIR-M).
        parts = functional.pad(parts, (0, -depth % 8))
        return _attend_pieces(parts, bias, scale)[..., :depth].transpose(1, 2).reshape(windows, pixels, width // 3)
    query, key, value = parts
    bias = bias.expand(windows, -1, -1, -1)
    out = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)
    return out.transpose(1, 2).reshape(windows, pixels, width // 3)


def _attend_pieces(parts: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Attention of (3, W, heads, N, D) in as many pieces as CUDA's limit of 65,535 windows in a batch asks for."""
    pieces = [
        functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias.expand(len(query), -1, -1, -1), scale=scale
        )
        for query, key, value in parts.split(_MOST_WINDOWS, dim=1)
    ]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


@dataclass
class _FusedBlock(FusedForward):
    """The forward pass of one block.

    Attributes:
        block: A block of SwinIR, DRCT or HAT.
        orders: Shared by all blocks.
    """

    block: nn.Module
    orders: _Orders
    biases: _Biases = field(default_factory=_Biases)

    def __call__(
        self, x: Tensor, x_size: tuple[int, int], rpi_sa: Tensor | None = None, attn_mask: object = None
    ) -> Tensor:
        """See the block's own code.

        Args:
            x: (B, H W, C).
            x_size: (H, W), multiples of the window.
            rpi_sa: HAT hands the rows of the bias table in; the other networks keep them in the block.
            attn_mask: HAT's masks, which are not needed here.
        """
        # What stands in for functions of torch elsewhere in the network (`deferral`) has nothing to gain in here.
        with torch._C.DisableTorchFunction():
            return self._run(x, x_size, rpi_sa, attn_mask)

    def _run(self, x: Tensor, x_size: tuple[int, int], rpi_sa: Tensor | None, attn_mask: object) -> Tensor:
        block: Any = self.block
        attention = block.attn
        table = attention.relative_position_bias_table
        if (torch.is_grad_enabled() and table.requires_grad) or block.training:
            # Biases that are trained must not be kept, and dropout is not for here.
            arguments = (x, x_size) if rpi_sa is None else (x, x_size, rpi_sa, attn_mask)
            published: Tensor = type(block).forward(block, *arguments)
            return published
        batch, (height, width), channels = len(x), x_size, x.shape[-1]
        window, shift = block.window_size, block.shift_size
        index = attention.relative_position_index if rpi_sa is None else rpi_sa
        if can_norm(x, block.norm1) and can_norm(x, block.norm2):
            return self._by_kernels(x, Grid(batch, height, width, window, shift), index)
        order = self.orders.of(batch, height, width, window, shift, x.device)
        if x.device.type == "cpu" and not torch.is_grad_enabled() and not hasattr(block, "conv_block"):
            return self._by_pieces(x, order, index)
        normed = block.norm1(x)
        windows = _Reorder.apply(normed.reshape(-1, channels), order.there, order.back)
        qkv = attention.qkv(windows.view(-1, window**2, channels))
        biases = self.biases.of(attention, index, window, shift, qkv)
        attended = attention.proj(_attend(qkv, biases, order, attention.num_heads, attention.scale))
        attended = _Reorder.apply(attended.view(-1, channels), order.back, order.there).view(x.shape)
        x = x + attended
        if hasattr(block, "conv_block"):
            images = normed.view(batch, height, width, channels).permute(0, 3, 1, 2)
            x = x + block.conv_block(images).permute(0, 2, 3, 1).reshape(x.shape) * block.conv_scale
        out: Tensor = x + block.mlp(block.norm2(x))
        return out

    def _by_kernels(self, x: Tensor, grid: Grid, index: Tensor) -> Tensor:
        """The whole block by kernels of our own for CUDA, where there are any for its parts.

        Args:
            x: (B, H W, C) float32, contiguous.
            grid: Its windows.
            index: As for `_Biases.of`.
        """
        block: Any = self.block
        attention, channels = block.attn, x.shape[-1]
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        rows, normed = add_norm(x.view(-1, channels), None, block.norm1, dtype)
        if can_attend(normed, attention.num_heads, grid.window):
            qkv = attention.qkv(normed)
            biases = self.biases.of(attention, index, grid.window, grid.shift, qkv)
            attended = attend(qkv, biases, grid, attention.num_heads, attention.scale)
        else:
            order = self.orders.of(grid.batch, grid.height, grid.width, grid.window, grid.shift, x.device)
            windows = _Reorder.apply(normed, order.there, order.back)
            qkv = attention.qkv(windows.view(-1, grid.window**2, channels))
            biases = self.biases.of(attention, index, grid.window, grid.shift, qkv)
            attended = _attend(qkv, biases, order, attention.num_heads, attention.scale)
            attended = _Reorder.apply(attended.view(-1, channels), order.back, order.there)
        attended = attention.proj(attended)
        if hasattr(block, "conv_block"):
            images = normed.unflatten(0, (grid.batch, grid.height, grid.width)).permute(0, 3, 1, 2)
            attended = attended + block.conv_block(images).permute(0, 2, 3, 1).reshape(rows.shape) * block.conv_scale
        rows, normed = add_norm(rows, attended, block.norm2, dtype)
        out: Tensor = rows + block.mlp(normed)
        return out.view(x.shape)

    def _by_pieces(self, x: Tensor, order: _Order, index: Tensor) -> Tensor:
        """The whole block for some windows at a time; nothing in it looks further than a window.

        Args:
            x: (B, H W, C) on the CPU; no gradient is wanted.
            order: Of its windows.
            index: As for `_Biases.of`.
        """
        block: Any = self.block
        attention, channels, pixels = block.attn, x.shape[-1], block.window_size**2
        rows = x.reshape(-1, channels)
        result = torch.empty_like(rows)
        for windows, kind in order.windows.pieces(_PIECE_WINDOWS):
            places = order.there[windows.start * pixels : windows.stop * pixels]
            piece = rows.index_select(0, places).view(-1, pixels, channels)
            qkv = attention.qkv(block.norm1(piece))
            biases = self.biases.of(attention, index, block.window_size, block.shift_size, qkv)
            attended = _attend_kind(qkv, biases[kind], attention.num_heads, attention.scale)
            piece.add_(attention.proj(attended))
            piece.add_(block.mlp(block.norm2(piece)))
            result.index_copy_(0, places, piece.view(-1, channels))
        return result.view(x.shape)


@dataclass
class _AsImages(FusedForward):
    """The way back from tokens to images: the published one, whose strides torch knows for channels-last.

    For one image the published code gives a batch stride from which torch does not see the layout, so that every
    convolution turned the image around, and every block behind it worked on numbers that lie apart.
    """

    def __call__(self, x: Tensor, x_size: tuple[int, int]) -> Tensor:
        """(B, H W, C) -> (B, C, H, W)."""
        return x.reshape(len(x), *x_size, -1).permute(0, 3, 1, 2)


@dataclass
class _MasksOnce:
    """HAT's masks, which its code makes on the host in every pass, and at which no block looks here; kept for CUDA.

    Attributes:
        model: The network.
        known: They by size, type and device.
    """

    model: nn.Module
    known: dict[tuple[object, ...], Tensor] = field(default_factory=dict)

    def __call__(self, x_size: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """As the published method, but on the network's device."""
        model: Any = self.model
        device = next(model.parameters()).device
        if device.type == "cpu":
            published: Tensor = type(model).calculate_mask(model, x_size, dtype=dtype)
            return published
        key = (x_size, dtype, device)
        if key not in self.known:
            while len(self.known) >= _MAX_SIZES:
                self.known.pop(next(iter(self.known)))
            with torch.inference_mode(False), torch.no_grad():
                self.known[key] = type(model).calculate_mask(model, x_size, dtype=dtype).to(device)
        return self.known[key]


def fuse_attention(model: nn.Module) -> int:
    """Give every Swin-type block of a network the fused forward pass; the others stay as they are.

    Returns:
        How many blocks there are.
    """
    orders = _Orders()
    blocks = [module for module in model.modules() if _is_known(module)]
    for block in blocks:
        fuse(block, _FusedBlock(block, orders))
        for layer in block.modules():
            if isinstance(layer, nn.Linear):
                fuse(layer, RowProduct(layer))
            elif type(layer) is nn.GELU:
                fuse(layer, RowGelu(layer))
    for module in model.modules() if blocks else ():
        if type(module).__name__ == "PatchUnEmbed":
            fuse(module, _AsImages())
        if type(module).__name__ == "HAT" and callable(getattr(module, "calculate_mask", None)):
            vars(module)["calculate_mask"] = _MasksOnce(module)
    return len(blocks)


def _is_known(module: nn.Module) -> bool:
    """Whether this is a block as SwinIR, DRCT and HAT have it, and not one of another network with the same name."""
    attention = getattr(module, "attn", None)
    return (
        type(module).__name__ in _BLOCKS
        and all(hasattr(module, name) for name in _NEEDED)
        and all(hasattr(attention, name) for name in ("relative_position_bias_table", "qkv", "proj", "scale"))
        and isinstance(getattr(attention, "qkv", None), nn.Linear)
    )


def is_fused(module: nn.Module) -> bool:
    """Whether this is a block with the fused forward pass."""
    return isinstance(vars(module).get("forward"), _FusedBlock)
