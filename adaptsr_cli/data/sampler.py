"""Training batches: crops, flips and transposes, each batch a pure function of seed and iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adaptsr_cli.data.degrade import degrade
from adaptsr_cli.data.pairs import PairReader
from adaptsr_cli.errors import DataError, UsageError

Array = np.ndarray[Any, np.dtype[np.uint8]]

# Blur and resampling reach this far, in LR pixels; a crop to be degraded is cut with so much round it.
_MARGIN_LR_PX = 8


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        lr: (B, 3, p/s, p/s) float32 in [0, 1].
        hr: (B, 3, p, p) float32 in [0, 1].
    """

    lr: Tensor
    hr: Tensor


class BatchSampler:
    """Draws batches of square crops.

    Each image comes once in a round over all images, in an order new to every round; where the crop lies and how it
    is turned is drawn uniformly. Photographs are degraded anew for every crop.

    Args:
        reader: Where the pairs come from.
        batch: Crops in a batch.
        patch_px: Side of the HR crop, a multiple of the scale.
        seed: Together with the iteration it decides everything, so resuming needs no random state.

    Raises:
        UsageError: `patch_px` is no positive multiple of the scale, or `batch` is not positive.
        DataError: An image is smaller than the crop.
    """

    def __init__(self, reader: PairReader, *, batch: int, patch_px: int, seed: int) -> None:
        scale = reader.scale
        if batch < 1:
            raise UsageError(f"--batch {batch} is not positive", "use 1 or more")
        if patch_px < scale or patch_px % scale:
            fitting = max(scale, round(patch_px / scale) * scale)
            raise UsageError(
                f"--patch {patch_px} is no multiple of the scale {scale}", f"use --patch {fitting} (HR pixels)"
            )
        smallest, index = min((min(reader.hr_size(index)), index) for index in range(len(reader)))
        if smallest < patch_px:
            width, height = reader.hr_size(index)
            raise DataError(
                f"{reader.pairs[index].hr} gives {width} x {height} px of HR, less than --patch {patch_px}",
                f"use --patch {smallest} at most, or leave small images out",
            )
        self._reader = reader
        self._batch = batch
        self._patch_px = patch_px
        self._seed = seed % (1 << 64)

    def sample(self, iteration: int) -> Batch:
        """The batch of an iteration, the same whenever and however often it is asked for.

        Args:
            iteration: 0 or more.

        Raises:
            ImageError: A file can no longer be read.
        """
        rng = np.random.default_rng((self._seed, iteration))
        first = iteration * self._batch
        crops = [self._crop(self._image_of(draw), rng) for draw in range(first, first + self._batch)]
        lr, hr = (_to_tensor(side) for side in zip(*crops, strict=True))
        return Batch(lr, hr)

    def _image_of(self, draw: int) -> int:
        """Which image the `draw`-th crop of the whole training is cut from."""
        round_, place = divmod(draw, len(self._reader))
        order = np.random.default_rng((self._seed, round_, 1)).permutation(len(self._reader))
        return int(order[place])

    def _crop(self, index: int, rng: np.random.Generator) -> tuple[Array, Array]:
        scale, side_px = self._reader.scale, self._patch_px // self._reader.scale
        degradation = self._reader.degradation
        lr, hr = self._reader.read(index) if degradation is None else (None, self._reader.read_hr(index))
        # Drawn on the LR grid: an HR crop between LR pixels would be shifted against its LR side.
        top = int(rng.integers(hr.shape[0] // scale - side_px + 1))
        left = int(rng.integers(hr.shape[1] // scale - side_px + 1))
        hr_crop = _window(hr, top * scale, left * scale, self._patch_px)
        if lr is not None:
            lr_crop = _window(lr, top, left, side_px)
        else:
            assert degradation is not None
            above, before = max(0, top - _MARGIN_LR_PX), max(0, left - _MARGIN_LR_PX)
            below, after = top + side_px + _MARGIN_LR_PX, left + side_px + _MARGIN_LR_PX
            wide = hr[above * scale : below * scale, before * scale : after * scale]
            lr_crop = _window(degrade(wide, scale, degradation, rng), top - above, left - before, side_px)
        turn = rng.integers(2, size=3)
        return _turn(lr_crop, turn), _turn(hr_crop, turn)


def _window(image: Array, top: int, left: int, side_px: int) -> Array:
    return image[top : top + side_px, left : left + side_px]


def _turn(crop: Array, turn: np.ndarray[Any, np.dtype[np.int64]]) -> Array:
    """One of the eight orientations of a square."""
    if turn[0]:
        crop = crop[:, ::-1]
    if turn[1]:
        crop = crop[::-1]
    return crop.transpose(1, 0, 2) if turn[2] else crop


def _to_tensor(crops: tuple[Array, ...]) -> Tensor:
    stacked = torch.from_numpy(np.stack(crops))  # (B, p, p, 3) uint8
    return stacked.permute(0, 3, 1, 2).contiguous().float().div_(255)  # (B, 3, p, p)
