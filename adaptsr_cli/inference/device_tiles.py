"""The tiles of an image on a GPU: the next ones are in work while the host looks after the last ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from adaptsr_cli.inference.device_canvas import Array, DeviceCanvas
from adaptsr_cli.inference.rows import to_unit_range
from adaptsr_cli.inference.tiles import Tile

_AHEAD: Final = 1  # groups of tiles that are ordered before the host waits for one


@dataclass(frozen=True)
class Networks:
    """How tiles are computed.

    Attributes:
        fast: (B, 3, h, w) in [0, 1] on the device -> (B, 3, s h, s w) in [0, 1]; waits for nothing, checks nothing.
        sure: (B, h, w, 3) on the host -> the same, finite; for a result of `fast` that is not.
    """

    fast: Callable[[Tensor], Tensor]
    sure: Callable[[np.ndarray], Tensor]


@dataclass(frozen=True)
class _InWork:
    """Tiles that were ordered.

    Attributes:
        tiles: Where they lie.
        lr: (B, h, w, 3) on the host.
        sr: (B, 3, s h, s w) on the device, as soon as `ready` has come.
        is_finite: On the host by then.
        ready: When the device is done with them.
    """

    tiles: Sequence[Tile]
    lr: np.ndarray
    sr: Tensor
    is_finite: Tensor
    ready: torch.cuda.Event | None


def run_on_device(
    canvas: DeviceCanvas,
    groups: Sequence[Sequence[Tile]],
    cut: Callable[[Sequence[Tile]], np.ndarray],
    networks: Networks,
    device: torch.device,
    on_group: Callable[[int], None],
) -> Iterator[tuple[int, int, Array]]:
    """Compute tiles and blends them.

    Args:
        canvas: Where they go.
        groups: The tiles in order, as many together as are computed at a time.
        cut: The inputs of a group, (B, h, w, 3) as the image is.
        networks: What computes them.
        device: Where.
        on_group: Called behind every group with its length.

    Yields:
        As `DeviceCanvas.add` returns them.
    """
    ordered: deque[_InWork] = deque()
    for group in groups:
        ordered.append(_order(group, cut(group), networks, device))
        if len(ordered) > _AHEAD:
            yield from _finish(canvas, ordered.popleft(), networks, on_group)
    while ordered:
        yield from _finish(canvas, ordered.popleft(), networks, on_group)


@torch.inference_mode()
def _order(tiles: Sequence[Tile], lr: np.ndarray, networks: Networks, device: torch.device) -> _InWork:
    sr = networks.fast(to_device(lr, device))
    least, most = torch.aminmax(sr)  # NaN is the least and the most of what it is among
    finite = torch.isfinite(least) & torch.isfinite(most)
    if device.type != "cuda":
        return _InWork(tiles, lr, sr, finite, None)
    flag = torch.empty((), dtype=torch.bool, pin_memory=True)
    flag.copy_(finite, non_blocking=True)
    ready = torch.cuda.Event()
    ready.record(torch.cuda.current_stream(device))
    return _InWork(tiles, lr, sr, flag, ready)


def _finish(
    canvas: DeviceCanvas, work: _InWork, networks: Networks, on_group: Callable[[int], None]
) -> Iterator[tuple[int, int, Array]]:
    ready, sr = work.ready, work.sr
    if ready is not None:
        ready.synchronize()
    if not bool(work.is_finite):
        sr = networks.sure(work.lr)
        if ready is not None:
            ready.record(torch.cuda.current_stream(sr.device))
    for index, tile in enumerate(work.tiles):
        with torch.inference_mode(), canvas.copies.aside(ready):
            band = canvas.add(tile, sr[index])
        canvas.copies.finish()
        if band is not None:
            yield band
    on_group(len(work.tiles))


def to_device(lr: np.ndarray, device: torch.device) -> Tensor:
    """(B, h, w, 3) on the host, integers or floats in [0, 1] -> (B, 3, h, w) float32 in [0, 1] on the device.

    Bytes travel as bytes, and from pinned memory, so that the host does not wait for what the device has in work.
    """
    pixels: np.ndarray[Any, Any] = lr if lr.dtype == np.uint8 else to_unit_range(lr)
    tensor = torch.from_numpy(pixels)
    if device.type == "cuda":
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    tensor = tensor.permute(0, 3, 1, 2).contiguous()
    return tensor.float().div_(255) if tensor.dtype == torch.uint8 else tensor
