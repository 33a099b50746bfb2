"""Training batches of crops, flipped and transposed; each batch is a pure function of seed and iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from adaptsr_cli.arrays import Int64Array, Uint8Array
from adaptsr_cli.data.mixture import Mixture
from adaptsr_cli.data.pairs import PairReader
from adaptsr_cli.data.recolour import blend_with_colour, shift_levels
from adaptsr_cli.errors import DataError, UsageError
from adaptsr_cli.imaging.degrade import degrade

_CPU: Final = torch.device("cpu")
# Blur and resampling reach this far, in LR pixels; a crop to be degraded is cut with so much round it.
_MARGIN_LR_PX = 8
# Blocks of 8 px, colour at half the size.
_JPEG_BLOCKS_PX = 16
# Keep these random numbers apart from those of the mixture, and the places of crops apart from their colours.
_CROP_STREAM = 3
_COLOUR_STREAM = 4


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        lr: (B, 3, p/s, p/s) float32 in [0, 1].
        hr: (B, 3, p, p) float32 in [0, 1].
    """

    lr: Tensor
    hr: Tensor


def require_patch(mixture: Mixture, patch_px: int) -> None:
    """Refuse crops that not every image has.

    Args:
        mixture: Of all pairs.
        patch_px: Side of the HR crop.

    Raises:
        UsageError: It is not a positive multiple of the scale.
        DataError: An image is smaller.
    """
    scale = mixture.scale
    smallest_px, index = min((min(mixture.hr_size(index)), index) for index in range(len(mixture)))
    largest_patch_px = smallest_px // scale * scale
    if patch_px < scale or patch_px % scale:
        fitting = max(scale, min(round(patch_px / scale) * scale, largest_patch_px))
        raise UsageError(
            f"`patch` {patch_px} is not a multiple of the scale {scale}", f"use `patch` {fitting} (HR pixels)"
        )
    if smallest_px < patch_px:
        width, height = mixture.hr_size(index)
        raise DataError(
            f"{mixture.pairs[index].hr} gives {width} x {height} px of HR, less than `patch` {patch_px}",
            f"use `patch` {largest_patch_px} at most, or leave small images out",
        )


class BatchSampler:
    """Draws batches of square crops.

    Each image comes once in a round over all images of its set, in an order new to every round; where the crop lies
    and how it is turned is drawn uniformly. Photographs are degraded anew for every crop.

    Args:
        source: Where the pairs come from; a lone reader is a mixture of one.
        batch: Crops in a batch, over all processes.
        patch_px: Side of the HR crop, a multiple of the scale.
        seed: Together with the iteration it decides everything, so resuming needs no random state.
        device: Where photographs are degraded.
        shift_levels: Shift each colour channel of a real pair's crop, on both sides by the same random number of grey
            levels, as far as nothing is clipped. Where all pairs show one scene, the network would else learn that
            scene's colours and brightness, and get those of others wrong.
        recolour: Share of the crops that are mixed with a random colour, in [0, 1].

    Raises:
        UsageError: `patch_px` is not a positive multiple of the scale, or `batch` is not positive.
        DataError: An image is smaller than the crop.
    """

    def __init__(
        self,
        source: Mixture | PairReader,
        *,
        batch: int,
        patch_px: int,
        seed: int,
        device: torch.device = _CPU,
        shift_levels: bool = False,
        recolour: float = 0.0,
    ) -> None:
        mixture = source if isinstance(source, Mixture) else Mixture((source,))
        if batch < 1:
            raise UsageError(f"`batch` {batch} is not positive", "use 1 or more")
        require_patch(mixture, patch_px)
        self._mixture = mixture
        self._batch = batch
        self._patch_px = patch_px
        self._device = device
        self._shift_levels = shift_levels
        self._recolour = recolour
        self._seed = seed % (1 << 64)  # NumPy takes no negative seeds

    def sample(self, iteration: int) -> Batch:
        """Return the batch of an iteration, the same whenever and however often it is asked for.

        Args:
            iteration: 0 or more.

        Raises:
            ImageError: A file can no longer be read.
        """
        return self.sample_part(iteration, 0, self._batch)

    def sample_part(self, iteration: int, first: int, count: int) -> Batch:
        """Return some crops of the batch of an iteration, for one of several processes that share the batch.

        A crop depends on the seed, the iteration and its place only, so parts put together are the whole batch, bit
        for bit.

        Args:
            iteration: 0 or more.
            first: The first crop, in [0, batch).
            count: How many; 1 or more, and not beyond the batch.

        Raises:
            ImageError: A file can no longer be read.
        """
        assert 0 <= first < first + count <= self._batch, (first, count, self._batch)
        crops = [self._crop(iteration, place) for place in range(first, first + count)]
        lr, hr = (_to_tensor(side) for side in zip(*crops, strict=True))
        return Batch(lr, hr)

    def _crop(self, iteration: int, place: int) -> tuple[Uint8Array, Uint8Array]:
        """Crop `place` of an iteration: lr (p/s, p/s, 3) and hr (p, p, 3), uint8."""
        reader, index = self._mixture.locate(self._mixture.draw(self._seed, iteration * self._batch + place))
        rng = np.random.default_rng((_CROP_STREAM, self._seed, iteration, place))
        scale, side_px = reader.scale, self._patch_px // reader.scale
        degradation = reader.degradation
        lr, hr = reader.read(index) if degradation is None else (None, reader.read_hr(index))
        # Drawn on the LR grid: an HR crop between LR pixels would be shifted against its LR side.
        top = int(rng.integers(hr.shape[0] // scale - side_px + 1))
        left = int(rng.integers(hr.shape[1] // scale - side_px + 1))
        hr_crop = _window(hr, top * scale, left * scale, self._patch_px)
        if lr is not None:
            lr_crop = _window(lr, top, left, side_px)
        else:
            assert degradation is not None
            above, before = _start_of_cut(top), _start_of_cut(left)
            below, after = top + side_px + _MARGIN_LR_PX, left + side_px + _MARGIN_LR_PX
            wide = hr[above * scale : below * scale, before * scale : after * scale]
            lr_crop = _window(
                degrade(wide, scale, degradation, rng, device=self._device), top - above, left - before, side_px
            )
        turn = rng.integers(2, size=3)
        if lr is not None and self._shift_levels:
            lr_crop, hr_crop = shift_levels(lr_crop, hr_crop, rng)
        colours = np.random.default_rng((_COLOUR_STREAM, self._seed, iteration, place))
        if colours.uniform() < self._recolour:
            lr_crop, hr_crop = blend_with_colour(lr_crop, hr_crop, colours)
        return _turn(lr_crop, turn), _turn(hr_crop, turn)


def _start_of_cut(start: int) -> int:
    """Where to cut round a crop: the margin before it, on the grid of JPEG's blocks in the whole photograph.

    Else every crop would begin where a block does, which those of a real photograph do not.
    """
    return max(0, (start - _MARGIN_LR_PX) // _JPEG_BLOCKS_PX * _JPEG_BLOCKS_PX)


def _window(image: Uint8Array, top: int, left: int, side_px: int) -> Uint8Array:
    return image[top : top + side_px, left : left + side_px]


def _turn(crop: Uint8Array, turn: Int64Array) -> Uint8Array:
    """Turn a square into one of its eight orientations."""
    if turn[0]:
        crop = crop[:, ::-1]
    if turn[1]:
        crop = crop[::-1]
    return crop.transpose(1, 0, 2) if turn[2] else crop


def _to_tensor(crops: tuple[Uint8Array, ...]) -> Tensor:
    stacked = torch.from_numpy(np.stack(crops))  # (B, p, p, 3) uint8
    return stacked.permute(0, 3, 1, 2).contiguous().float().div_(255)  # (B, 3, p, p)
