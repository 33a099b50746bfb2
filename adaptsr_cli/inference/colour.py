"""Between picture files and the network: depth, grey, transparency, and sizes other than the network's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adaptsr_cli.inference.engine import Upscaler, to_unit_range
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
    on_tile: Callable[[int, int], None] | None = None,
) -> Picture:
    """Upscales a picture and keeps what it is: depth, grey, transparency, profile, EXIF, pages, frames, timing.

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


def _upscale_frame(
    upscaler: Upscaler, frame: Picture, factor: float, on_tile: Callable[[int, int], None] | None
) -> Picture:
    height_px, width_px = (max(1, round(factor * size)) for size in frame.colour.shape[:2])
    lr = frame.colour
    if frame.alpha is not None:
        lr = extend_colour(lr, frame.alpha)
    sr = resize_to(upscaler.run(lr, on_tile=on_tile), width_px, height_px)
    if frame.grey:
        sr = sr.mean(axis=2, keepdims=True)
    colour = to_depth(sr, frame.colour.dtype)
    del sr  # several times as large as what is kept of it
    if frame.grey:
        colour = np.repeat(colour, 3, axis=2)
    alpha = None
    if frame.alpha is not None:
        mask = resize_to(upscale_alpha(upscaler, frame.alpha), width_px, height_px)
        alpha = to_depth(mask[..., 0], frame.alpha.dtype)
    return replace(frame, colour=colour, alpha=alpha)


def upscale_alpha(upscaler: Upscaler, alpha: np.ndarray) -> Floats:
    """Upscales a mask of opacity.

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
    scale = upscaler.backbone.scale
    lr = torch.from_numpy(to_unit_range(alpha))[None, None]  # (1, 1, H, W)
    most = functional.max_pool2d(lr, 3, stride=1, padding=1)
    least = -functional.max_pool2d(-lr, 3, stride=1, padding=1)
    edge = least != most
    flat, value = (
        mask[0, 0, :, :, None].repeat_interleave(scale, 0).repeat_interleave(scale, 1).numpy() for mask in (~edge, lr)
    )
    if flat.all():  # opaque, as in most files that have the channel at all
        return np.asarray(value)
    at_edge = lr[edge]
    soft = ((at_edge > _NEARLY_CLEAR) & (at_edge < 1 - _NEARLY_CLEAR)).float().mean() > _SOFT_SHARE
    if soft:
        sr = upscaler.run(np.repeat(alpha[..., None], 3, axis=2)).mean(axis=2, keepdims=True)
    else:
        sr = resize_to(lr[0, 0, :, :, None].numpy(), scale * alpha.shape[1], scale * alpha.shape[0])
    return np.where(flat, value, sr)


def to_depth(image: np.ndarray, dtype: np.dtype[Any] | type[np.generic]) -> np.ndarray:
    """Rounds an image in [0, 1] to the whole range of an unsigned integer type.

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
    """Resizes by bicubic interpolation, with antialiasing where the size shrinks.

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
    """Continues the colour of the visible pixels into the fully transparent ones.

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
    """Fills where the weight is 0 (the values must be 0 there) from the image at half the size, itself filled."""
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
