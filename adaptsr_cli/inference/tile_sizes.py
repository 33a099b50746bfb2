"""Sizes of automatic tiles, and how many are computed at a time."""

from __future__ import annotations

from typing import Final

import torch

from adaptsr_cli.inference.tiles import RAMP_PX

# An automatic tile's input, halo included, at most (height, width). On the CPU the time of a pixel does not depend on
# the tile, so only the halo's share counts, and what must be held beside the tile: as many rows of the result as it is
# high. So tiles are wide there: four times as wide as high they compute 1.20 times the image with a halo of 32, squares
# of the same height 1.35 times. An image of no more pixels than the largest tile is one tile whatever its shape.
# Other engines than torch convert the network for each shape of tiles, by a run of the published code, which takes up
# to 32 kB a pixel (DCTLSA), and hold masks of attention windows for all of the tile: theirs are smaller.
AUTO_SIDES_PX: Final = {"cpu": (512, 2048), "cuda": (1024, 1024), "engine": (512, 512)}
ENGINE_PX_BYTES: Final = 32_000
# One tile fills a GPU; smaller ones that the user asks for come several at a time, up to as many pixels.
_MOST_BATCH: Final = {"cpu": 1, "cuda": 8}


def auto_batch(device: torch.device, tile_px: int | None, pad_px: int) -> int:
    """How many tiles are computed at a time."""
    if not tile_px:
        return 1
    rows_px, columns_px = AUTO_SIDES_PX[device.type]
    return max(1, min(_MOST_BATCH[device.type], rows_px * columns_px // (tile_px + 2 * pad_px + RAMP_PX) ** 2))
