"""Upscaling of pictures as files hold them: bit depth, grey, transparency, and factors other than the network's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from adaptsr_cli.arrays import Uint8Array
from adaptsr_cli.inference.engine import OnTile, Upscaler
from adaptsr_cli.inference.rows import empty_canvas, to_host, to_unit_range
from adaptsr_cli.io.pictures import Picture

Floats = np.ndarray[Any, np.dtype[np.float32]]

# A mask is soft if more than this share of its edge is neither nearly clear nor nearly opaque. Edges that were drawn
# soft have a third; the others none, but for the traces of a lossy format.
_SOFT_SHARE: Final = 0.1
_NEARLY_CLEAR: Final = 0.05

_PIECE_ROWS: Final = 64


def upscale_picture(
    upscaler: Upscaler,
    picture: Picture,
    *,
    outscale: float | None = None,
    on_tile: OnTile | None = None,
) -> Picture:
    """Upscale a picture and keep what it is: depth, grey, transparency, profile, EXIF, pages, frames, timing.

    By the network's own factor finished rows are rounded at once: the result is never held as floats.

    Transparency with soft edges goes through the network too, as a grey image; see `upscale_alpha`.

    A factor other than the network's is reached by one pass of the network and one bicubic resizing of the numbers as
    they are stored (gamma light). See ``benchmarks/outscale.py`` for what was compared: Lanczos, linear light and a
    second pass of the network were no better.

    Args:
        upscaler: The network.
        picture: Any picture.
        outscale: The final factor; None for the network's own.
        on_tile: As for `Upscaler.run`, for the colour; of several pages or frames for each anew.

    Returns:
        The picture, each page or frame of ``round(factor * size)`` pixels and at least one.

    Raises:
        ImageError: The network fails on this picture.
        AdaptsrError: Not enough memory.
    """
    factor = outscale or upscaler.backbone.scale
    first, *further = (_upscale_frame(upscaler, frame, factor, on_tile) for frame in picture.frames)
    return replace(first, further=tuple(further), animation=picture.animation)


def _upscale_frame(upscaler: Upscaler, frame: Picture, factor: float, on_tile: OnTile | None) -> Picture:
    lr, dtype = frame.colour, frame.colour.dtype
    if frame.alpha is not None:
        lr = extend_colour(lr, frame.alpha)
    height_px, width_px = (max(1, round(factor * side)) for side in lr.shape[:2])
    native = (height_px, width_px) == tuple(upscaler.backbone.scale * side for side in lr.shape[:2])
    if native:
        bands = _colour_bands(upscaler, lr, frame.grey, on_tile, dtype)
        colour = _gather(bands, height_px, width_px, 1 if frame.grey else 3, dtype)
    else:
        colour = _round_resized(upscaler.run(lr, on_tile=on_tile), width_px, height_px, dtype, frame.grey)
    attached = frame.attached.resized(width_px / lr.shape[1], height_px / lr.shape[0])
    frame = replace(frame, attached=attached)
    if frame.grey:
        colour = np.broadcast_to(colour, (height_px, width_px, 3))  # a view: held once
    if frame.alpha is None:
        return replace(frame, colour=colour)
    if native:
        alpha = _gather(_alpha_bands(upscaler, frame.alpha), height_px, width_px, 1, dtype)
    else:
        alpha = _round_resized(upscale_alpha(upscaler, frame.alpha), width_px, height_px, dtype, False)
    return replace(frame, colour=colour, alpha=alpha[..., 0])


def _gather(
    bands: Iterator[np.ndarray], height_px: int, width_px: int, channels: int, dtype: np.dtype[Any] | type[np.generic]
) -> np.ndarray:
    """Join rows that come from top to bottom, rounded at once where the type is one of integers.

    Returns:
        (height_px, width_px, channels) of the type.
    """
    joined = empty_canvas(height_px, width_px, channels, dtype)
    done_px = 0
    for band in bands:
        joined[done_px : done_px + len(band)] = band if band.dtype == dtype else to_depth(band, dtype)
        done_px += len(band)
        del band  # else two would be held while the next one is made
    return joined


def _round_resized(image: Floats, width_px: int, height_px: int, dtype: np.dtype[Any], grey: bool) -> np.ndarray:
    """Resize and rounds, channel by channel: so no second image of floats is ever whole.

    Args:
        image: (H, W, C) float32 in [0, 1].
        width_px: The new width.
        height_px: The new height.
        dtype: ``uint8`` or ``uint16``.
        grey: Give the mean of the channels.

    Returns:
        (height_px, width_px, C), or with one channel if grey.
    """
    count = image.shape[2]
    channels = (resize_to(image[..., channel : channel + 1], width_px, height_px) for channel in range(count))
    if grey:
        mean = next(channels)
        for channel in channels:
            mean += channel
        mean /= count
        return to_depth(mean, dtype)
    rounded = empty_canvas(height_px, width_px, count, dtype)
    for index, channel in enumerate(channels):
        rounded[..., index] = to_depth(channel[..., 0], dtype)
        del channel
    return rounded


def _colour_bands(
    upscaler: Upscaler, lr: np.ndarray, grey: bool, on_tile: OnTile | None, dtype: npt.DTypeLike = np.float32
) -> Iterator[np.ndarray]:
    """The network's result from top to bottom, (rows, scale * W, 3 or for grey 1), as `Upscaler.bands` gives it."""
    height_px, width_px = lr.shape[:2]
    wanted = np.float32 if grey else dtype
    for _, band in upscaler.bands(
        height_px, width_px, lambda start, stop: lr[start:stop], on_tile=on_tile, dtype=wanted
    ):
        yield band.mean(axis=2, keepdims=True) if grey else band
        del band


def upscale_alpha(upscaler: Upscaler, alpha: np.ndarray) -> Floats:
    """Upscale a mask of opacity.

    Where a pixel and its neighbours are equal the mask keeps their value: what is opaque stays opaque and what is
    transparent stays transparent, whatever the network was adapted to.

    A mask whose edges are soft goes through the network. One that knows only opaque and transparent is interpolated:
    networks, which never saw such stairs, put dots along them. See ``benchmarks/alpha_edges.py``: soft edges 33.8 dB by
    the network and 24.9 dB by bicubic interpolation, hard ones 20.8 dB and 23.4 dB.

    Args:
        upscaler: The network.
        alpha: (H, W) uint8 or uint16.

    Returns:
        (scale * H, scale * W, 1) float32 in [0, 1].
    """
    height_px, width_px = (upscaler.backbone.scale * side for side in alpha.shape)
    return _gather(_alpha_bands(upscaler, alpha), height_px, width_px, 1, np.float32)


def _alpha_bands(upscaler: Upscaler, alpha: np.ndarray) -> Iterator[Floats]:
    """The result of `upscale_alpha` from top to bottom, (rows, scale * W, 1)."""
    scale = upscaler.backbone.scale
    value = to_unit_range(alpha)[..., None]  # (H, W, 1)
    edge = _find_edges(value)
    at_edge = value[edge]
    if not len(at_edge):  # opaque, as in most files that have the channel at all
        for piece in _pieces(value, _PIECE_ROWS):
            yield _repeat(piece, scale)
        return
    soft = ((at_edge > _NEARLY_CLEAR) & (at_edge < 1 - _NEARLY_CLEAR)).mean() > _SOFT_SHARE
    if soft:
        bands = _colour_bands(upscaler, np.broadcast_to(alpha[..., None], (*alpha.shape, 3)), True, None)
    else:
        enlarged = resize_to(value, scale * alpha.shape[1], scale * alpha.shape[0])
        bands = _pieces(enlarged, scale * _PIECE_ROWS)
    start_px = 0
    for sr in bands:
        stop_px = start_px + len(sr) // scale
        yield np.where(_repeat(edge[start_px:stop_px], scale), sr, _repeat(value[start_px:stop_px], scale))
        start_px = stop_px
        del sr


def _find_edges(mask: Floats) -> np.ndarray:
    """Where a pixel differs from one of its eight neighbours: (H, W, 1) -> the same shape, bool."""
    tensor = torch.from_numpy(mask[..., 0])[None, None]  # (1, 1, H, W)
    most = functional.max_pool2d(tensor, 3, stride=1, padding=1)
    least = functional.max_pool2d(tensor.neg(), 3, stride=1, padding=1).neg_()
    return np.asarray((least != most)[0, 0, :, :, None].numpy())


def _repeat(rows: np.ndarray, scale: int) -> np.ndarray:
    """Repeat every pixel: (h, w, C) -> (scale * h, scale * w, C)."""
    return rows.repeat(scale, axis=0).repeat(scale, axis=1)


def _pieces(image: Floats, rows: int) -> Iterator[Floats]:
    return (image[start : start + rows] for start in range(0, len(image), rows))


def upscale_rgb(upscaler: Upscaler, image: np.ndarray) -> Uint8Array:
    """Upscale (H, W, 3) of any depth to (scale * H, scale * W, 3) uint8, as it is written to a file and scored."""
    return to_depth(upscaler.run(image), np.uint8)


def upscale_batch(upscaler: Upscaler, images: np.ndarray) -> Uint8Array:
    """Upscale small images of one size at a time: (B, h, w, 3) -> (B, scale * h, scale * w, 3), as `upscale_rgb`."""
    try:
        batch = [to_host(sr) for sr in upscaler.infer(images)]
    except RuntimeError:  # one by one makes do with less memory, and names what else is wrong
        return np.stack([upscale_rgb(upscaler, image) for image in images])
    return to_depth(np.stack(batch), np.uint8)


def to_depth(image: np.ndarray, dtype: np.dtype[Any] | type[np.generic]) -> np.ndarray:
    """Round an image in [0, 1] to the whole range of an unsigned integer type.

    Args:
        image: Any shape, float; values outside [0, 1] are cut off.
        dtype: ``uint8`` or ``uint16``.
    """
    rounded: np.ndarray = np.empty(image.shape, dtype)
    # In pieces: copies of a whole large result would take twice the memory of the result itself.
    for start in range(0, len(image), _PIECE_ROWS):
        levels = np.clip(image[start : start + _PIECE_ROWS], 0, 1) * np.float32(np.iinfo(dtype).max)
        rounded[start : start + _PIECE_ROWS] = np.rint(levels)
    return rounded


def resize_to(image: np.ndarray, width_px: int, height_px: int) -> Floats:
    """Resize by bicubic interpolation, with antialiasing where the size shrinks.

    Args:
        image: (H, W, C) float32 in [0, 1].
        width_px: The new width.
        height_px: The new height.

    Returns:
        (height_px, width_px, C) float32 in [0, 1]; `image` itself where it has this size.
    """
    if image.shape[:2] == (height_px, width_px):
        return image
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]  # (1, C, H, W)
    resized = functional.interpolate(tensor, (height_px, width_px), mode="bicubic", antialias=True, align_corners=False)
    result: Floats = resized[0].clamp_(0, 1).permute(1, 2, 0).contiguous().numpy()
    return result


def extend_colour(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Continue the colour of the visible pixels into the fully transparent ones.

    Transparent pixels are mostly black or white in files, and what the network mixes of them into the edge would
    show as a fringe. The gaps are filled from ever coarser averages of the visible pixels around.

    Args:
        colour: (H, W, 3) uint8 or uint16.
        alpha: (H, W) of the same type.

    Returns:
        (H, W, 3) of the same type; visible pixels are unchanged.
    """
    visible = alpha > 0
    if visible.all() or not visible.any():
        return colour
    weight = torch.from_numpy(visible.astype(np.float32))[None, None]  # (1, 1, H, W)
    values = torch.from_numpy(to_unit_range(colour)).permute(2, 0, 1)[None]  # (1, 3, H, W)
    filled = _fill_gaps(values * weight, weight)[0].permute(1, 2, 0).numpy()
    return np.where(visible[..., None], colour, to_depth(filled, colour.dtype))


def _fill_gaps(values: Tensor, weight: Tensor) -> Tensor:
    """Fill where the weight is 0 (the values must be 0 there) from the image at half the size, itself filled."""
    height_px, width_px = values.shape[-2:]
    if height_px == width_px == 1:
        return values
    share = _halve(weight)
    coarse = _fill_gaps(_halve(values) / share.clamp_min(1e-6), (share > 0).to(values.dtype))
    smooth = functional.interpolate(coarse, (height_px, width_px), mode="bilinear", align_corners=False)
    return torch.where(weight > 0, values, smooth)


def _halve(tensor: Tensor) -> Tensor:
    """Means of 2x2 pixels; an odd last row or column stands alone."""
    return functional.avg_pool2d(tensor, 2, ceil_mode=True, count_include_pad=False)
