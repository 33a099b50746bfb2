"""Alignment of real pairs: measurement of shift and colour gain, and correction of the shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Final

import numpy as np
from skimage.filters import difference_of_gaussians
from skimage.registration import phase_cross_correlation

from adaptsr_cli.arrays import Float32Array, Uint8Array
from adaptsr_cli.artifacts.preflight import PairAlignment
from adaptsr_cli.data.layouts import Pair, PairSet
from adaptsr_cli.errors import DataError
from adaptsr_cli.imaging.luma import LUMA
from adaptsr_cli.io.images import resize_bicubic
from adaptsr_cli.units import list_some, plural

WINDOW_PX: Final = 512
WARN_SHIFT_PX: Final = 0.5
WARN_SHARE: Final = 0.1

_MIN_SIDE_PX = 16
# Grey levels (standard deviation) of the band-passed HR window; the noise of a clean sky stays below.
_MIN_DETAIL = 1.0
# On central windows of 512 px of real pairs the correlation is 0.47 and more (0.35 with noise of 15 grey levels
# added), between different photographs 0.04 and less. Small windows correlate more by chance, hence the second bound.
_MIN_MATCH = 0.2
_MIN_MATCH_TIMES_SIDE = 12.0
_LARGEST_SHIFT_SHARE = 1 / 8
_BAND_PX = (1.0, 3.0)
_STEPS_PER_PX = 20


def measure_alignment(lr: Uint8Array, hr: Uint8Array, ratio: int) -> PairAlignment:
    """Compare LR with the antialiased, shrunk HR on a central window of at most 512 px of the LR grid.

    The shift is where the cross-correlation of the luma, band-passed by a difference of Gaussians, is highest (FFT,
    refined to 1/20 px). Dividing the magnitudes out, as plain phase correlation does, gives the noise as much say as
    the picture: with blur, noise and JPEG on one side it was four to seven times as far off. What
    ``benchmarks/alignment.py`` gives for known shifts of up to 6 px, such a side included: all within 0.05 px on
    windows of 192 px, 95 % within 0.15 px on 96 px and within 0.55 px on 48 px.

    Args:
        lr: (h, w, 3) uint8.
        hr: (about ratio * h, about ratio * w, 3) uint8.
        ratio: HR pixels per LR pixel; 1 for pairs of one size.
    """
    height, width = min(lr.shape[0], hr.shape[0] // ratio), min(lr.shape[1], hr.shape[1] // ratio)
    side_y, side_x = min(height, WINDOW_PX), min(width, WINDOW_PX)
    if min(side_y, side_x) < _MIN_SIDE_PX:
        return PairAlignment(verdict="flat")
    top, left = (height - side_y) // 2, (width - side_x) // 2
    low = lr[top : top + side_y, left : left + side_x]
    high = hr[top * ratio : (top + side_y) * ratio, left * ratio : (left + side_x) * ratio]
    if ratio > 1:
        high = resize_bicubic(np.ascontiguousarray(high), side_x, side_y)
    sides = _details(low), _details(high)
    if float(sides[1].std()) < _MIN_DETAIL:
        return PairAlignment(verdict="flat")
    first = rest = _find_shift(*sides)
    most_px = min(side_y, side_x) * _LARGEST_SHIFT_SHARE
    if max(map(abs, first)) > most_px:
        return PairAlignment(verdict="unmatched")
    whole = round(first[0]), round(first[1])
    if whole != (0, 0):
        low, high = _overlap(low, high, *whole)
        sides = _details(low), _details(high)
        # Again on what both sides show: the window's taper pulls large shifts a little towards zero.
        rest = _find_shift(*sides)
    match = _correlate(*sides)
    if max(map(abs, rest)) > 1.5 or match < max(_MIN_MATCH, _MIN_MATCH_TIMES_SIDE / min(low.shape[:2])):
        return PairAlignment(verdict="unmatched", match=round(match, 3))
    return PairAlignment(
        verdict="matched",
        dy_px=round(whole[0] + rest[0], 3),
        dx_px=round(whole[1] + rest[1], 3),
        match=round(match, 3),
        gains=_find_gains(low, high),
    )


def _details(image: Uint8Array) -> Float32Array:
    """(h, w) float32: the luma in grey levels without its slow changes and without the finest noise."""
    luma = image.astype(np.float32) @ LUMA  # (h, w, 3) @ (3,)
    details: Float32Array = difference_of_gaussians(luma, *_BAND_PX, mode="reflect").astype(np.float32)
    return details


def _find_shift(low: Float32Array, high: Float32Array) -> tuple[float, float]:
    """(dy, dx) in pixels, so that the details of low at (y + dy, x + dx) show what those of high show at (y, x)."""
    taper = np.outer(np.hanning(low.shape[0]), np.hanning(low.shape[1])).astype(np.float32)
    moved, still = low * taper, high * taper
    if not moved.any() or not still.any():
        return 0.0, 0.0  # a constant side correlates with nothing, as the match will show
    shift, _, _ = phase_cross_correlation(still, moved, upsample_factor=_STEPS_PER_PX, normalization=None)
    return -float(shift[0]), -float(shift[1])


def _overlap(low: Uint8Array, high: Uint8Array, dy: int, dx: int) -> tuple[Uint8Array, Uint8Array]:
    """Cut from two windows of one size what both show."""
    height, width = low.shape[0] - abs(dy), low.shape[1] - abs(dx)
    top, left = max(0, dy), max(0, dx)
    cut = low[top : top + height, left : left + width]
    top, left = max(0, -dy), max(0, -dx)
    return cut, high[top : top + height, left : left + width]


def _correlate(first: Float32Array, second: Float32Array) -> float:
    """Correlation of two planes in [-1, 1]; 0 where one of them is constant."""
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt(np.square(first).sum(dtype=np.float64) * np.square(second).sum(dtype=np.float64)))
    return float(np.clip((first * second).sum(dtype=np.float64) / scale, -1, 1)) if scale > 0 else 0.0


def _find_gains(low: Uint8Array, high: Uint8Array) -> tuple[float, float, float] | None:
    """Ratio of the channel means; None where nearly everything is clipped.

    A regression of LR on HR would come out too small, since noise and blur blunt it; means are free of that.
    """
    gains = []
    for channel in range(3):
        a, b = low[..., channel], high[..., channel]
        whole = (np.minimum(a, b) > 3) & (np.maximum(a, b) < 252)
        if np.count_nonzero(whole) < 0.01 * whole.size:
            return None
        gains.append(round(float(a[whole].mean() / b[whole].mean()), 4))
    return gains[0], gains[1], gains[2]


def describe_alignment(pairs: PairSet, alignments: Sequence[PairAlignment | None]) -> tuple[list[str], str | None]:
    """Describe the measurements on a whole set in lines for people.

    Args:
        pairs: The set.
        alignments: Of its pairs, in their order; None for photographs.

    Returns:
        Notes, and a warning where more than a tenth of the pairs are shifted by half a pixel or more.
    """
    measured = [(entry, pair.name) for entry, pair in zip(alignments, pairs.pairs, strict=True) if entry is not None]
    matched = [(entry, name) for entry, name in measured if entry.verdict == "matched"]
    notes: list[str] = []
    warning = None
    if matched:
        farthest, name = max(matched, key=lambda item: item[0].shift_px)
        shifts = [entry.shift_px for entry, _ in matched]
        line = f"residual shift: median {median(shifts):.1f} px, largest {farthest.shift_px:.1f} px ({name})"
        gains = [entry.gains for entry, _ in matched if entry.gains is not None]
        if gains:
            red, green, blue = (median(channel) for channel in zip(*gains, strict=True))
            line += f"; colour gain R {red:.2f} G {green:.2f} B {blue:.2f} (median)"
        notes.append(line)
        far = sum(shift >= WARN_SHIFT_PX for shift in shifts)
        if far > WARN_SHARE * len(measured):
            warning = (
                f"{far} of {plural(len(measured), 'pair')} are shifted by {WARN_SHIFT_PX} px or more; "
                "`align` shift corrects whole pixels"
            )
    for verdict, words in (("unmatched", "whose sides do not match"), ("flat", "too flat to measure a shift")):
        names = [name for entry, name in measured if entry.verdict == verdict]
        if names:
            notes.append(f"{plural(len(names), 'pair')} {words}: {list_some(names, 5)}")
    return notes, warning


def apply_shifts(pairs: PairSet, alignments: Sequence[PairAlignment | None]) -> PairSet:
    """Corrects whole-pixel shifts and leaves out the pairs whose sides do not match.

    Flat pairs are kept as they are. The notes say what is left out.

    Args:
        pairs: The set; photographs stay as they are.
        alignments: Of its pairs, in their order.

    Raises:
        DataError: No pair is left.
    """
    kept: list[Pair] = []
    left_out: list[str] = []
    moved = 0
    for pair, entry in zip(pairs.pairs, alignments, strict=True):
        if entry is not None and entry.verdict == "unmatched":
            left_out.append(pair.name)
            continue
        shift = entry.whole if entry is not None else (0, 0)
        moved += shift != (0, 0)
        kept.append(replace(pair, shift=shift))
    if not kept:
        raise DataError(
            f"the sides of none of the {plural(len(pairs), 'pair')} in {pairs.root} match",
            "check that equal names mean equal pictures, or use `align` none",
        )
    notes = list(pairs.notes)
    if any(entry is not None for entry in alignments):
        notes.append(
            f"{moved} of {plural(len(pairs), 'pair')} shifted by whole pixels and trimmed to what both sides show"
        )
    if left_out:
        notes.append(
            f"{plural(len(left_out), 'pair')} left out, since the sides do not match: {list_some(left_out, 5)}"
        )
    return replace(pairs.keep(kept, "of pairs whose sides do not match"), notes=tuple(notes))
