"""The small pictures that ``pairs.html`` shows of a shot."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.io.atomic import write_bytes
from adaptsr_cli.io.images import encode_jpeg, resize, resize_bicubic
from adaptsr_cli.io.pictures import to_8_bit
from adaptsr_cli.registration.geometry import Region
from adaptsr_cli.registration.planes import luma
from adaptsr_cli.registration.register import Registration

MAP_FULL_PX: Final = 0.5
"""Residual, LR px, that gets the last colour of the map."""
_PHOTO_PX: Final = 900
_DETAIL_PX: Final = 480
_DETAILS: Final = 4
_MAP_CELL_PX: Final = 8
# From dark to bright, told apart by lightness alone too; the same as the page's legend.
_RAMP: Final = np.array([[38, 70, 130], [40, 160, 160], [240, 210, 70], [215, 60, 40]], np.float32)


def write_previews(found: Registration, folder: Path, *, keep_colour: bool) -> None:
    """Write ``wide``, ``tele``, ``map`` and pairs of ``lr0``, ``hr0`` ... as JPEG.

    Args:
        found: The registration.
        folder: Where to.
        keep_colour: HR's colours are left.
    """
    for name, image in (("wide", found.lr), ("tele", found.tele)):
        write_bytes(folder / f"{name}.jpg", encode_jpeg(_fit(to_8_bit(image)), 82))
    write_bytes(folder / "map.jpg", encode_jpeg(draw_map(found), 85, subsampling="4:4:4"))
    for index, region in enumerate(choose_details(found)):
        high = to_8_bit(found.render_hr(region, keep_colour=keep_colour))
        low = to_8_bit(np.ascontiguousarray(found.lr[region.slices]))
        low = resize_bicubic(low, high.shape[1], high.shape[0])
        write_bytes(folder / f"lr{index}.jpg", encode_jpeg(low, 92, subsampling="4:4:4"))
        write_bytes(folder / f"hr{index}.jpg", encode_jpeg(high, 92, subsampling="4:4:4"))


def choose_details(found: Registration) -> list[Region]:
    """Places to look at: about the most detailed kept blocks, none near another."""
    side = min(_DETAIL_PX // found.scale, found.region.width, found.region.height)
    blocks = [block for block in found.blocks if block.reason is None] or list(found.blocks)
    plane = luma(found.lr)
    gradient = np.abs(np.diff(plane, axis=1))
    blocks.sort(key=lambda block: -float(gradient[block.region.slices].mean()))
    chosen: list[Region] = []
    for block in blocks:
        place = []
        for start, length, first, whole in (
            (block.region.left, block.region.width, found.region.left, found.region.width),
            (block.region.top, block.region.height, found.region.top, found.region.height),
        ):
            place.append(int(np.clip(start + (length - side) // 2, first, first + whole - side)))
        if all(max(abs(place[0] - other.left), abs(place[1] - other.top)) > side for other in chosen):
            chosen.append(Region(place[0], place[1], side, side))
        if len(chosen) == _DETAILS:
            break
    return chosen


def draw_map(found: Registration) -> AnyArray:
    """The residual over the region: colour where it was measured, the photograph in grey elsewhere."""
    residual = found.residual
    region = residual.region
    rows, columns = residual.valid.shape
    size = columns * _MAP_CELL_PX, rows * _MAP_CELL_PX
    grey = to_8_bit(np.ascontiguousarray(found.lr[region.slices]))
    ground = luma(resize_bicubic(grey, *size))[..., None].repeat(3, 2)
    lengths = np.hypot(*np.moveaxis(residual.shifts_px, -1, 0))
    # A window lies about a corner between four cells; it colours the half cells about that corner.
    colour = np.zeros((rows, columns, 3), np.float32)
    share = np.zeros((rows, columns, 1), np.float32)
    at = np.clip(lengths / MAP_FULL_PX, 0, 1) * (len(_RAMP) - 1)
    low = np.minimum(at.astype(int), len(_RAMP) - 2)
    mixed = _RAMP[low] + (at - low)[..., None].astype(np.float32) * (_RAMP[low + 1] - _RAMP[low])
    for dy in (0, 1):
        for dx in (0, 1):
            part = slice(dy, rows - 1 + dy), slice(dx, columns - 1 + dx)
            colour[part] += mixed * residual.trusted[..., None]
            share[part] += residual.trusted[..., None]
    known = share[..., 0] > 0
    colour /= np.maximum(share, 1)
    large = np.kron(colour, np.ones((_MAP_CELL_PX, _MAP_CELL_PX, 1), np.float32))
    mask = np.kron(known[..., None], np.ones((_MAP_CELL_PX, _MAP_CELL_PX, 1), bool))
    drawn: AnyArray = np.where(mask, 0.35 * ground + 0.65 * large, 0.5 * ground + 60)
    return np.clip(drawn, 0, 255).astype(np.uint8)


def _fit(image: AnyArray) -> AnyArray:
    """The image at most `_PHOTO_PX` wide or high."""
    factor = _PHOTO_PX / max(image.shape[:2])
    if factor >= 1:
        return np.ascontiguousarray(image)
    return resize(image, round(image.shape[1] * factor), round(image.shape[0] * factor), "area")
