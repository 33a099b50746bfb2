"""Tracing of networks with free sizes: padding by index, and replacements for code that would fix a size."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.fast.forwards import published_forwards


class Pad(nn.Module):
    """Extends images to a size that the network takes, as `adaptsr_cli.backbones.backbone.fit_to_network` does.

    Rows and columns are gathered by index, so that sizes may be symbols.

    Args:
        backbone: The network.
        multiple_px: What the network was traced with multiples of; where it is more than the network's own, the rest
            is what the network would add itself.
    """

    def __init__(self, backbone: Backbone, multiple_px: int) -> None:
        super().__init__()
        self._backbone = backbone
        self._multiple_px = multiple_px

    def forward(self, lr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, h, w) -> (B, 3, H, W), and the output's rows and columns to keep: (scale * h,), (scale * w,)."""
        height, width = lr.shape[-2:]
        fitted_height, fitted_width = (self._round_up(size) for size in (height, width))
        if self._backbone.square:
            fitted_height = fitted_width = torch.sym_max(fitted_height, fitted_width)
        rows, columns = self._gathered(height, fitted_height), self._gathered(width, fitted_width)
        kept_rows, kept_columns = (torch.arange(size * self._backbone.scale) for size in (height, width))
        return lr.index_select(2, rows).index_select(3, columns), kept_rows, kept_columns

    def _round_up(self, size: int) -> Any:
        """The smallest size the network takes that is not below `size`."""
        return _round_up(torch.sym_max(size, self._backbone.minimum_px), self._backbone.multiple_px)

    def _gathered(self, size: int, fitted: int) -> Tensor:
        """Which row of the image each row of the extended one repeats."""
        return _reflect(size, fitted)[_reflect(fitted, _round_up(fitted, self._multiple_px))]


class Crop(nn.Module):
    """Keeps what belongs to the image."""

    def forward(self, full: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """(B, 3, H, W), (h,), (w,) -> (B, 3, h, w)."""
        return full.index_select(2, rows).index_select(3, columns)


def _round_up(size: Any, multiple: int) -> Any:
    """The smallest multiple that is not below `size`."""
    return (size + multiple - 1) // multiple * multiple


def _reflect(size: int, full_size: int) -> Tensor:
    """Which row each of `full_size` rows repeats: 0 1 2 1 0 0 0 for three rows."""
    places = torch.arange(full_size)
    return torch.minimum(places, 2 * (size - 1) - places).clamp(min=0)


def _join_windows(windows: Tensor, height_px: int, width_px: int, height: int, width: int) -> Tensor:
    """Windows of (height_px, width_px) back to images, (B * n, ...) -> (B, height, width, C).

    The original code divides as floating point to find the batch, which makes it a constant of the graph.
    """
    channels = windows.shape[-1]
    rows, columns = height // height_px, width // width_px
    grid = windows.reshape(-1, rows, columns, height_px, width_px, channels)  # (B, rows, columns, h, w, C)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)


def _join_square(windows: Tensor, side: int, height: int, width: int) -> Tensor:
    return _join_windows(windows, side, side, height, width)


# Functions of Swin's descendants in spandrel: name there -> the same with a free batch.
_FREE_BATCH: Final[Mapping[str, Callable[..., Tensor]]] = {
    "window_reverse": _join_square,
    "windows2img": _join_windows,
}


@contextmanager
def free_sizes(network: nn.Module, multiple_px: int) -> Iterator[None]:
    """Replaces, while a network is traced, what would turn a free size into a constant.

    On leaving everything is as it was, but `network` itself, which must be a copy.

    Args:
        network: The network.
        multiple_px: Its inputs are multiples of this.
    """
    replaced = []
    for module in {sys.modules[type(part).__module__] for part in network.modules()}:
        for name, function in _FREE_BATCH.items():
            if callable(old := getattr(module, name, None)):
                replaced.append((module, name, old))
                setattr(module, name, function)
    masks: dict[tuple[int, int], ShiftMask] = {}
    for part in network.modules():
        block: Any = part  # what spandrel's modules hold is not typed
        if hasattr(block, "calculate_mask") and hasattr(block, "input_resolution"):  # of SwinIR or its like
            window = (int(block.window_size), int(block.shift_size))
            block.calculate_mask = masks.setdefault(window, ShiftMask(window[:1] * 2, window[1:] * 2))
        elif hasattr(block, "calculate_mask") and hasattr(block, "split_size"):  # of DAT
            block.calculate_mask = _MaskPair(tuple(block.split_size), tuple(block.shift_size))
            block.patches_resolution = 0  # the masks that it keeps are of the size that it was trained with
    try:
        # Our attention orders windows by their number, which is free here; onnxruntime has kernels of its own.
        with published_forwards(network), _PlainPooling(multiple_px):
            yield
    finally:
        for module, name, old in replaced:
            setattr(module, name, old)


class ShiftMask:
    """The mask that keeps shifted windows from attending across the image's edge, made once for all blocks of a run.

    The original fills nine slices anew in every block, which takes minutes to trace in a network of 36.

    Args:
        window_px: Height and width of a window.
        shift_px: How far windows are shifted, down and to the right.
    """

    def __init__(self, window_px: tuple[int, ...], shift_px: tuple[int, ...]) -> None:
        self._window_px = window_px
        self._shift_px = shift_px
        self._size: tuple[int, int] | None = None
        self._mask = torch.zeros(0)

    def __call__(self, size: tuple[int, int]) -> Tensor:
        """(height, width) -> (windows, pixels, pixels) of a window's pixels by rows, 0 or -100."""
        if size is not self._size:  # sizes are symbols, so only the very same pair is surely equal
            self._size, self._mask = size, self._make(*size)
        return self._mask

    def _make(self, height: int, width: int) -> Tensor:
        rows = _zones(height, self._window_px[0], self._shift_px[0])  # (rows, window height)
        columns = _zones(width, self._window_px[1], self._shift_px[1])  # (columns, window width)
        zones = 3 * rows[:, None, :, None] + columns[None, :, None, :]  # (rows, columns, window height, window width)
        flat = zones.reshape(-1, self._window_px[0] * self._window_px[1])
        return -100.0 * (flat[:, None, :] != flat[:, :, None]).float()


class _MaskPair:
    """The two masks of a block of DAT: its windows lie along the rows in one half of the channels, across in the other.

    Args:
        window_px: Height and width of the first kind of windows.
        shift_px: How far they are shifted.
    """

    def __init__(self, window_px: tuple[int, ...], shift_px: tuple[int, ...]) -> None:
        self._masks = (ShiftMask(window_px, shift_px), ShiftMask(window_px[::-1], shift_px[::-1]))

    def __call__(self, height: int, width: int, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """The masks for an image of this size."""
        along, across = (mask((height, width)).to(dtype) for mask in self._masks)
        return along, across


def _zones(size: int, window_px: int, shift_px: int) -> Tensor:
    """0 for what the shift leaves together, 1 and 2 for the two parts of the last window: (windows, window_px)."""
    places = torch.arange(size)
    zones = (places >= size - window_px).long() + (places >= size - shift_px).long()
    return zones.reshape(-1, window_px)


class _PlainPooling(TorchFunctionMode):
    """Turns pooling to a size into pooling by a factor, which ONNX knows with free sizes.

    They are the same where the size is a multiple of the factor, which padding sees to.
    """

    def __init__(self, multiple_px: int) -> None:
        super().__init__()
        self._multiple_px = multiple_px

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called in place of every function of torch."""
        sizes = args[1] if func in _POOLINGS and len(args) == 2 else ()
        if isinstance(sizes, tuple) and any(isinstance(size, torch.SymInt) for size in sizes):
            image = args[0]
            factors = [_example(side) // _example(size) for side, size in zip(image.shape[-2:], sizes, strict=True)]
            if math.lcm(self._multiple_px, *factors) == self._multiple_px:
                return _POOLINGS[func](image, factors)
        return func(*args, **(kwargs or {}))


_POOLINGS: Final[Mapping[Callable[..., Any], Callable[..., Tensor]]] = {
    functional.adaptive_max_pool2d: functional.max_pool2d,
    functional.adaptive_avg_pool2d: functional.avg_pool2d,
}


def _example(size: int | torch.SymInt) -> int:
    """The value of a size for the image that the network is traced with."""
    return int(str(size.node.hint)) if isinstance(size, torch.SymInt) else size
