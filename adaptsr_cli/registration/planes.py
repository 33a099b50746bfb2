"""What the registration works on: brightness in grey levels, points, and sums over square cells."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from adaptsr_cli.arrays import AnyArray, Float32Array
from adaptsr_cli.imaging.luma import LUMA

Points = np.ndarray[Any, np.dtype[np.float64]]
"""(..., 2) float64: x and y in pixels; the centre of the first pixel is (0, 0)."""
Mask = np.ndarray[Any, np.dtype[np.bool_]]

CELL_PX: Final = 16
"""Side of a cell of the LR grid: what is measured is measured on cells, or on windows of 2 x 2 of them."""


def levels(image: AnyArray) -> AnyArray:
    """The image as float32 in grey levels, 0 to 255, whatever its depth.

    Args:
        image: (h, w, 3) uint8 or uint16, or float32 that is in grey levels already.
    """
    if image.dtype == np.uint16:
        return np.multiply(image, np.float32(1 / 257), dtype=np.float32)
    return image.astype(np.float32, copy=False)


def luma(image: AnyArray) -> Float32Array:
    """Brightness of an image of any depth, in grey levels.

    Args:
        image: (h, w, 3) uint8, uint16 or float32.
    """
    weights = LUMA / np.float32(257 if image.dtype == np.uint16 else 1)
    # By channels: a product over all three would first make a float copy of the whole image.
    plane: Float32Array = np.multiply(image[..., 0], weights[0], dtype=np.float32)
    for channel in (1, 2):
        plane += np.multiply(image[..., channel], weights[channel], dtype=np.float32)
    return plane


def sum_cells(plane: AnyArray, cell_px: int = CELL_PX) -> AnyArray:
    """Sum over square cells.

    Args:
        plane: (h, w, ...); what is left over at the right and below is not used.
        cell_px: Side of a cell.

    Returns:
        (h // cell_px, w // cell_px, ...) float64.
    """
    rows, columns = plane.shape[0] // cell_px, plane.shape[1] // cell_px
    cut = plane[: rows * cell_px, : columns * cell_px]
    # (rows, cell, columns, cell, ...) -> (rows, columns, ...); first along rows in float32, exact enough for 16 values
    tall = cut.reshape(rows, cell_px, columns * cell_px, *plane.shape[2:]).sum(axis=1)
    summed: AnyArray = tall.reshape(rows, columns, cell_px, *plane.shape[2:]).sum(axis=2, dtype=np.float64)
    return summed


def sum_windows(cells: AnyArray) -> AnyArray:
    """Sum over all windows of 2 x 2 cells, which overlap by half.

    Args:
        cells: (rows, columns, ...).

    Returns:
        (rows - 1, columns - 1, ...).
    """
    summed: AnyArray = cells[:-1, :-1] + cells[:-1, 1:] + cells[1:, :-1] + cells[1:, 1:]
    return summed


def spread_windows(windows: Mask) -> Mask:
    """Which cells lie in one of the marked windows of 2 x 2 cells: (r, c) -> (r + 1, c + 1)."""
    cells = np.zeros((windows.shape[0] + 1, windows.shape[1] + 1), bool)
    for dy in (0, 1):
        for dx in (0, 1):
            cells[dy : dy + windows.shape[0], dx : dx + windows.shape[1]] |= windows
    return cells
