"""Validation: the score on held-out images during training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress
from typing import Final, Protocol

import numpy as np

from adaptsr_cli.distributed import SINGLE_PROCESS, World
from adaptsr_cli.errors import NotFiniteError
from adaptsr_cli.imaging.flatness import is_flat
from adaptsr_cli.metrics.protocol import PAPER, score_images


class PairSource(Protocol):
    """Where held-out pairs come from."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One pair: lr (h, w, 3) and hr (s h, s w, 3), uint8."""


MAX_IMAGES: Final = 16
MAX_LR_PX: Final = 65_536
"""LR pixels that are scored during training, of all held-out images together: of a few of them every one."""
_AT_ONCE_LR_PX: Final = 16_384
"""What the network upscales at a time, however few the images are; it bounds the memory that validation takes."""

_ENOUGH_IMAGES: Final = 4
"""So many held-out images tell by themselves whether a training gets worse."""

_PIECES: Final = 4  # a side
_TRAINING_IMAGES: Final = 4
_TRAINING_LR_PX: Final = 16_384
"""Of all of them together; their pieces are of 32 px a side then, to which windowed networks would pad smaller ones."""
_TRAINING_PIECES: Final = 2  # a side
_SAMPLE_ROWS: Final = 3
_SAMPLE_PX: Final = 256

Pair = tuple[np.ndarray, np.ndarray]  # lr (h, w, 3), hr (s h, s w, 3), uint8

Upscale = Callable[[np.ndarray], np.ndarray]
"""Images of one size at a time: (B, h, w, 3) -> (B, s h, s w, 3), uint8."""


@dataclass(frozen=True)
class Validation:
    """Score and sample outputs of one validation.

    Attributes:
        psnr_y_db: Mean over the held-out images that count, by the protocol `paper`.
        sample: (H, W, 3) uint8: a row for each of the first images, LR enlarged | output | HR.
    """

    psnr_y_db: float
    sample: np.ndarray


@dataclass(frozen=True)
class StartScore:
    """The held-out score before the first step.

    Attributes:
        validation: Of the network with its new adapters.
        backbone_psnr_y_db: Of the network alone.
    """

    validation: Validation
    backbone_psnr_y_db: float


class Validator:
    """Scores the network on at most 16 held-out images.

    Each has an equal share of the pixels, which bounds the time that validation takes away from training. Of a large
    image 16 pieces are scored that are spread over it; `adaptsr eval` scores whole images. The smaller the pieces the
    less they tell: they have fewer pixels, and more of them near an edge of what the network sees
    (`benchmarks/validation_pieces.py`).

    Args:
        source: The held-out pairs.
        scale: Upscaling factor.
        world: The processes that share the images.
        max_lr_px: LR pixels to score, of all images together.
        training: Images that are trained on; some parts of them are scored too where few images are held out.

    Attributes:
        flat_images: How many images show nothing, and do not count beside others.
        shows_nothing: Whether there are no others.
    """

    def __init__(
        self,
        source: PairSource,
        scale: int,
        world: World = SINGLE_PROCESS,
        *,
        max_lr_px: int = MAX_LR_PX,
        training: PairSource | None = None,
    ) -> None:
        indices = _spread(len(source), MAX_IMAGES)
        self._scale = scale
        self._world = world
        self._images: list[list[Pair]] = []
        self._shown: list[Pair] = []
        for place in world.share(len(indices)):
            lr, hr = source.read(indices[place])
            self._images.append(_pieces(lr, hr, scale, max_lr_px // len(indices)))
            if len(self._shown) < _SAMPLE_ROWS:
                self._shown.append(_centre(lr, hr, scale, max(1, _SAMPLE_PX // scale)))
        flat = self._find_flat(self._images)
        self.flat_images, self.shows_nothing = sum(flat), all(flat)
        self._counted = _choose_counted(flat)
        self._training: list[list[Pair]] | None = None
        if training is not None and self.has_few:
            indices = _spread(len(training), _TRAINING_IMAGES)
            self._training = [
                _pieces(*training.read(indices[place]), scale, _TRAINING_LR_PX // len(indices), _TRAINING_PIECES)
                for place in world.share(len(indices))
            ]
            self._training_counted = _choose_counted(self._find_flat(self._training))

    def __len__(self) -> int:
        return sum(self._counted)

    @property
    def has_few(self) -> bool:
        """Whether so few images are held out that the score may fall by the scene of one of them."""
        return len(self) < _ENOUGH_IMAGES

    def score(self, upscale: Upscale, *, or_black: bool = False) -> Validation:
        """Score all held-out images with the network.

        Args:
            upscale: The network.
            or_black: Take results that are not finite for black, so that the score of a training falls.

        Raises:
            NotFiniteError: A result is not finite, without `or_black`.
        """
        upscale = _black_if_not_finite(upscale, self._scale) if or_black else upscale
        psnr_y_db = self._mean_psnr_db(upscale, self._images, self._counted)
        rows = [_sample_row(lr, upscale(lr[None])[0], hr, self._scale) for lr, hr in self._shown]
        return Validation(psnr_y_db, _stack(rows))

    def joint_psnr_y_db(self, upscale: Upscale, held_out_db: float) -> float | None:
        """Mean PSNR-Y in dB of the held-out images and of those that are trained on; None where the former are enough.

        A single held-out image may get worse by chance; this falls where the training does not work.

        Args:
            upscale: The network.
            held_out_db: Its score on the held-out images.
        """
        if self._training is None:
            return None
        upscale = _black_if_not_finite(upscale, self._scale)
        training_db = self._mean_psnr_db(upscale, self._training, self._training_counted)
        return float(np.average([held_out_db, training_db], weights=[len(self), sum(self._training_counted)]))

    def _find_flat(self, images: list[list[Pair]]) -> list[bool]:
        """Which images are flat, of this process and the others, in their order."""
        return self._world.gather_shares([is_flat(hr for _, hr in pieces) for pieces in images])

    def _mean_psnr_db(self, upscale: Upscale, images: list[list[Pair]], counted: list[bool]) -> float:
        """Of this process's images and those of the others, as far as they count."""
        scores = [self._psnr_db(upscale, pieces) for pieces in images]
        # In the order of the images, so that the mean is the same however many processes there are.
        return float(np.mean(list(compress(self._world.gather_shares(scores), counted))))

    def _psnr_db(self, upscale: Upscale, pieces: list[Pair]) -> float:
        """Of an image."""
        lr = np.stack([lr for lr, _ in pieces])
        at_once = max(1, _AT_ONCE_LR_PX // (lr.shape[1] * lr.shape[2]))
        upscaled = np.concatenate([upscale(lr[first : first + at_once]) for first in range(0, len(lr), at_once)])
        return _psnr_of_all(
            [
                score_images(sr, hr, protocol=PAPER, scale=self._scale, metrics=("psnr",))["psnr_y_db"]
                for sr, (_, hr) in zip(upscaled, pieces, strict=True)
            ]
        )


def _black_if_not_finite(upscale: Upscale, scale: int) -> Upscale:
    """The same, but black images where the network's are not finite."""

    def upscale_or_black(lr: np.ndarray) -> np.ndarray:
        try:
            return upscale(lr)
        except NotFiniteError:
            return np.zeros((len(lr), scale * lr.shape[1], scale * lr.shape[2], 3), np.uint8)

    return upscale_or_black


def _psnr_of_all(pieces_db: list[float]) -> float:
    """PSNR in dB of the mean squared error of pieces of one size: that of an image is not the mean of theirs."""
    if len(pieces_db) == 1:
        return pieces_db[0]
    return -10 * math.log10(np.mean([10 ** (-psnr_db / 10) for psnr_db in pieces_db]))


def _choose_counted(flat: list[bool]) -> list[bool]:
    """Which images count, by which are flat: the others, or all where there are no others."""
    return [True] * len(flat) if all(flat) else [not shows_nothing for shows_nothing in flat]


def _spread(count: int, most: int) -> list[int]:
    """At most so many of `count` indices, at even distances."""
    return sorted({round(position) for position in np.linspace(0, count - 1, min(count, most))})


def _pieces(lr: np.ndarray, hr: np.ndarray, scale: int, max_lr_px: int, per_side: int = _PIECES) -> list[Pair]:
    """A small pair itself; of a larger one pieces at even distances, which do not overlap."""
    height, width = lr.shape[:2]
    if height * width <= min(max_lr_px, _AT_ONCE_LR_PX):
        return [(lr, hr)]
    # A side that is shorter than the square's leaves more for the other one.
    short = min(height, width, math.isqrt(max_lr_px))
    long = min(max(height, width), max_lr_px // short)
    sides = [part // per_side for part in ((short, long) if height <= width else (long, short))]
    rows, columns = (
        [round((number + 0.5) * length / per_side - side / 2) for number in range(per_side)]
        for length, side in zip((height, width), sides, strict=True)
    )
    return [_cut(lr, hr, scale, row, column, *sides) for row in rows for column in columns]


def _centre(lr: np.ndarray, hr: np.ndarray, scale: int, most_lr_px: int) -> Pair:
    """The central crop of a pair, at most `most_lr_px` LR pixels a side."""
    height, width = (min(size, most_lr_px) for size in lr.shape[:2])
    return _cut(lr, hr, scale, (lr.shape[0] - height) // 2, (lr.shape[1] - width) // 2, height, width)


def _cut(lr: np.ndarray, hr: np.ndarray, scale: int, top: int, left: int, height: int, width: int) -> Pair:
    """A part of a pair, in LR pixels."""
    hr_rows = slice(top * scale, (top + height) * scale)
    hr_columns = slice(left * scale, (left + width) * scale)
    return lr[top : top + height, left : left + width], hr[hr_rows, hr_columns]


def _sample_row(lr: np.ndarray, sr: np.ndarray, hr: np.ndarray, scale: int) -> np.ndarray:
    """LR enlarged without interpolation, output and HR side by side, (h, 3 w, 3) uint8."""
    return np.concatenate([lr.repeat(scale, axis=0).repeat(scale, axis=1), sr, hr], axis=1)


def _stack(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of any width below one another, filled up in black; one black pixel where there is no row."""
    width = max((row.shape[1] for row in rows), default=1)
    filled = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return np.concatenate(filled) if filled else np.zeros((1, 1, 3), np.uint8)
