"""Whether a training without pairs did good, judged without pairs: by consistency, and by agreement.

Both see fidelity only. Invented detail that the camera would have hidden is invisible to either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from adaptsr_cli.artifacts.transfer import TransferFunction
from adaptsr_cli.imaging.camera_noise import brightness_of
from adaptsr_cli.imaging.sharp_photographs import reduce_to_lr
from adaptsr_cli.imaging.transfer_function import apply_transfer

Image = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64

Upscaler = Callable[[Image], Image]
"""(H, W, 3) uint8 to (scale H, scale W, 3) uint8."""

# Networks differ near the border, where they see padding.
_BORDER_LR_PX: Final = 4
# Of the differences' mean, in standard errors, below which a gain may be chance.
_CLEAR: Final = 2.0


@dataclass(frozen=True)
class Verdict:
    """What the guard says of a trained network against its backbone.

    Attributes:
        gain_levels: By how much the consistency error falls, mean over draws and photographs, in grey levels of 255.
        error_levels: Standard error of that over the photographs, each averaged over the draws.
        share_of_draws: For what share of the possible transfer functions it falls at all.
        keep: Whether to keep the trained network.
        reason: In words.
    """

    gain_levels: float
    error_levels: float
    share_of_draws: float
    keep: bool
    reason: str


def consistency(sr: Floats, lr: Floats, transfer: TransferFunction, scale: int) -> float:
    """C = || D(m * SR) - LR ||_1: how far the upscaled photograph, taken by the camera again, is from the photograph.

    Args:
        sr: (scale H, scale W, 3) in grey levels.
        lr: (H, W, 3) in grey levels, not trained on.
        transfer: m.
        scale: HR pixels per LR pixel.

    Returns:
        Mean absolute difference of brightness in grey levels, without the border.

    Raises:
        ValueError: The sizes do not go together.
    """
    if sr.shape[:2] != (lr.shape[0] * scale, lr.shape[1] * scale):
        raise ValueError(f"an upscaled picture of {sr.shape[:2]} is no x{scale} of {lr.shape[:2]}")
    again = reduce_to_lr(apply_transfer(transfer, brightness_of(sr)), scale)
    inside = slice(_BORDER_LR_PX, -_BORDER_LR_PX)
    return float(np.abs(again - brightness_of(lr))[inside, inside].mean())


def consistencies(
    upscale: Upscaler, photographs: Sequence[Image], draws: Sequence[TransferFunction], scale: int
) -> Floats:
    """(photographs, draws) consistency errors; each photograph is upscaled once."""
    rows = []
    for lr in photographs:
        sr = upscale(lr)
        rows.append([consistency(sr, lr, transfer, scale) for transfer in draws])
    return np.array(rows)


def agreement(one: Upscaler, other: Upscaler, photographs: Sequence[Image]) -> float:
    """How far two trainings, such as on two halves of the draws or by two seeds, differ: mean absolute grey levels.

    What they have learned from the camera they have in common; what differs is chance or the estimate's spread.
    """
    return float(np.mean([np.abs(brightness_of(one(lr)) - brightness_of(other(lr))).mean() for lr in photographs]))


def disputed_share(backbone: Upscaler, one: Upscaler, other: Upscaler, photographs: Sequence[Image]) -> float:
    """How far two trainings differ over how far both moved; near 0 they agree, from 1 on they do not.

    Args:
        backbone: The network before training.
        one: Trained on one part of the draws.
        other: Trained on another part.
        photographs: (H, W, 3) uint8, of the camera, not trained on.
    """
    apart, moved = 0.0, 0.0
    for lr in photographs:
        before, first, second = (brightness_of(network(lr)) for network in (backbone, one, other))
        apart += float(np.square(first - second).mean())
        moved += float(np.square((first + second) / 2 - before).mean())
    return float(np.sqrt(apart / max(moved, 1e-12)))


def judge_training(backbone: Floats, trained: Floats) -> Verdict:
    """Compare consistency errors before and after training.

    The functions are drawn from the estimate's spread: an adapter that helps for the likeliest function and hurts for
    the others is not kept.

    Args:
        backbone: (photographs, draws) of the network before training; see `consistencies`.
        trained: The same after it.

    Raises:
        ValueError: The two are of different shapes, or empty.
    """
    if backbone.shape != trained.shape or backbone.ndim != 2 or backbone.size == 0:
        raise ValueError(f"errors of {backbone.shape} before and {trained.shape} after do not compare")
    falls = backbone - trained
    of_photographs = falls.mean(axis=1)
    gain = float(of_photographs.mean())
    # A lone photograph has no scatter; the draws' is then all there is.
    values = of_photographs if len(of_photographs) > 1 else falls[0]
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("inf")
    share = float((falls.mean(axis=0) > 0).mean())
    if gain <= 0:
        return Verdict(gain, error, share, False, "the upscaled photographs are less consistent with the camera's")
    if gain < _CLEAR * error:
        return Verdict(gain, error, share, False, f"no clear gain: {gain:.3f} levels, standard error {error:.3f}")
    if share < 0.8:
        return Verdict(gain, error, share, False, f"a gain for {share:.0%} of the possible cameras only")
    return Verdict(gain, error, share, True, f"more consistent with the camera's photographs by {gain:.3f} levels")
