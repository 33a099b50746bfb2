"""Tiles blended and rounded where they were computed, and brought to the host while the next ones are.

Of a result only what its neighbours still add to stays on the device: a ramp at the right of the last tile, and one
below the last row of tiles. So the device holds no more for a larger image, but for the ramp's few rows. What is
finished is rounded there where integers are wanted (a quarter of the bytes), and goes through a few buffers of pinned
memory. `benchmarks/gpu_switches.py` races that against pageable memory, and against blending on the host.
"""

from __future__ import annotations

from collections import deque
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from adaptsr_cli.inference.rows import empty_canvas
from adaptsr_cli.inference.tiles import RAMP_PX, Axis, Tile, TilePlan

Array = np.ndarray[Any, np.dtype[Any]]

_BUFFER_BYTES: Final = 1 << 24
_BUFFERS: Final = 3


@dataclass
class _Buffer:
    """Pinned memory on the way from the device to the host."""

    memory: Tensor
    done: torch.cuda.Event


class HostCopies:
    """Copies from a device to arrays of the host, through pinned memory and on a stream of their own.

    Args:
        device: Where the tensors are; on the CPU everything is a plain copy.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self._stream = _copy_stream(device) if self._is_cuda else None
        self._free: list[_Buffer] = []

    def aside(self, ready: torch.cuda.Event | None = None) -> AbstractContextManager[object]:
        """Within this block work is ordered behind `ready`, and waits for nothing else that is in work."""
        if self._stream is None:
            return nullcontext()
        if ready is not None:
            self._stream.wait_event(ready)
        return torch.cuda.stream(self._stream)

    def finish(self) -> None:
        """Wait for all that was ordered within `aside`: until then what it reads must not be let go of."""
        if self._stream is not None:
            self._stream.synchronize()

    def bring(self, source: Tensor, target: Array) -> None:
        """Copies, and waits until it is done; to be called within `aside`.

        Args:
            source: (h, w, C) on the device, contiguous.
            target: (h, w, C) of a type of the same size; its rows may lie apart.
        """
        place = torch.from_numpy(target.view(np.int16) if target.dtype == np.uint16 else target)
        if not self._is_cuda:
            place.copy_(source)
            return
        height, row_bytes = len(source), source[:1].numel() * source.element_size()
        rows = max(1, _BUFFER_BYTES // row_bytes)
        under_way: deque[tuple[_Buffer, Tensor, slice]] = deque()
        for start in range(0, height, rows):
            part = slice(start, min(start + rows, height))
            if len(under_way) == _BUFFERS:
                self._settle(*under_way.popleft(), place)
            buffer = self._take(max(_BUFFER_BYTES, row_bytes))
            held = source[part]
            pinned = buffer.memory[: held.numel() * held.element_size()].view(held.dtype).view(held.shape)
            pinned.copy_(held, non_blocking=True)
            buffer.done.record()
            under_way.append((buffer, pinned, part))
        while under_way:
            self._settle(*under_way.popleft(), place)

    def _settle(self, buffer: _Buffer, pinned: Tensor, part: slice, place: Tensor) -> None:
        buffer.done.synchronize()
        place[part].copy_(pinned)  # by all threads, which a copy by NumPy is not
        self._free.append(buffer)

    def _take(self, count: int) -> _Buffer:
        while self._free:
            buffer = self._free.pop()
            if len(buffer.memory) >= count:
                return buffer
        return _Buffer(torch.empty(count, dtype=torch.uint8, pin_memory=True), torch.cuda.Event())


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all that copies from a device, since torch keeps memory for each stream apart."""
    return torch.cuda.Stream(device)


@dataclass
class DeviceCanvas:
    """What is made of the tiles of one image, from left to right and from top to bottom.

    Attributes:
        plan: Where the tiles lie.
        scale: HR pixels per LR pixel.
        done_px: LR rows that are out already; what comes above them is dropped.
        dtype: Of the result: float32, or uint8 or uint16 for the whole range of the type.
        copies: The way to the host.
    """

    plan: TilePlan
    scale: int
    done_px: int
    dtype: np.dtype[Any]
    copies: HostCopies
    _band: Array = field(default_factory=lambda: np.empty((0, 0, 3)), init=False)
    _right: Tensor | None = field(default=None, init=False)
    _below: Tensor | None = field(default=None, init=False)
    _weights: dict[tuple[bool, int], Tensor] = field(default_factory=dict, init=False)

    def add(self, tile: Tile, sr: Tensor) -> tuple[int, int, Array] | None:
        """Take one tile, the next in order; to be called within `HostCopies.aside`.

        Args:
            tile: Its place.
            sr: (3, s h, s w) in [0, 1], any float type, on the device.

        Returns:
            Behind the last tile of a row, where that finishes anything new: the first LR row, the LR row behind the
            last, and the result between, (rows, scale * W, 3).
        """
        scale, vertical, horizontal = self.scale, tile.vertical, tile.horizontal
        block = sr[
            :,
            scale * (vertical.keep_start - vertical.start) : scale * (vertical.keep_stop - vertical.start),
            scale * (horizontal.keep_start - horizontal.start) : scale * (horizontal.keep_stop - horizontal.start),
        ].to(torch.float32, copy=True)
        block *= self._weight(True, tile.row, sr)[:, None]
        block *= self._weight(False, tile.column, sr)
        # What the tile on the left adds to the first columns of this one, and this one to those of the next.
        if tile.column:
            assert self._right is not None
            block[:, :, : self._right.shape[2]] += self._right
        stop_px = _finished_px(self.plan.horizontal, tile.column)
        split = scale * (stop_px - horizontal.keep_start)
        self._right, block = block[:, :, split:].clone(), block[:, :, :split]
        # Likewise from row to row of tiles: of a row, one tile finishes, reads and replaces each column of the ramp.
        columns = slice(scale * horizontal.keep_start, scale * stop_px)
        last_px = _finished_px(self.plan.vertical, tile.row)
        split = scale * (last_px - vertical.keep_start)
        if len(self.plan.vertical.strips) > 1:
            if self._below is None:
                self._below = sr.new_zeros(3, scale * RAMP_PX, scale * self.plan.horizontal.length, dtype=torch.float32)
            if tile.row:
                block[:, : scale * RAMP_PX] += self._below[:, :, columns]
            self._below[:, : block.shape[1] - split, columns] = block[:, split:]
        first_px = max(self.done_px, vertical.keep_start)
        if first_px >= last_px:
            return None
        if not tile.column:
            shape = scale * (last_px - first_px), scale * self.plan.horizontal.length, 3
            self._band = empty_canvas(*shape, self.dtype)
        rows = block[:, scale * (first_px - vertical.keep_start) : split]
        self.copies.bring(self._rounded(rows), self._band[:, columns])
        if tile.column + 1 < len(self.plan.horizontal.strips):
            return None
        band, self._band, self.done_px = self._band, self._band[:0], last_px
        return first_px, last_px, band

    def _rounded(self, block: Tensor) -> Tensor:
        """(3, h, w) float32 -> (h, w, 3) contiguous, float32 in [0, 1] or rounded; uint16 as the int16 of its bits."""
        block = block.clamp(0, 1)  # the weights sum to one up to rounding
        if self.dtype != np.float32:
            levels = block.mul_(float(np.iinfo(self.dtype).max)).round_()
            block = levels.to(torch.uint8) if self.dtype == np.uint8 else levels.to(torch.int32).to(torch.int16)
        return block.permute(1, 2, 0).contiguous()

    def _weight(self, down: bool, index: int, like: Tensor) -> Tensor:
        """How much the rows (`down`) or columns count that a tile keeps, (n,) float32."""
        if (down, index) not in self._weights:
            axis = self.plan.vertical if down else self.plan.horizontal
            self._weights[down, index] = torch.from_numpy(axis.weights(index, self.scale)).to(like.device)
        return self._weights[down, index]


def _finished_px(axis: Axis, index: int) -> int:
    """Where what a tile finishes ends along an axis: where the next one begins to count."""
    return axis.strips[index + 1].keep_start if index + 1 < len(axis.strips) else axis.length
