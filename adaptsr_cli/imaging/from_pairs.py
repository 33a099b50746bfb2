"""A camera's transfer function and noise from one or a few real pairs, by regularised least squares.

With H the spectrum of a window of the plainly reduced HR photograph and L that of the LR photograph, m = sum(L H*) /
sum(|H|^2) over all windows minimises |L - m H|^2 at each frequency by itself. The model of few numbers is then fitted
to these, each weighted by what its own residual leaves of it, and drawn towards plain reduction where pairs say little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from scipy import optimize

from adaptsr_cli.artifacts.transfer import CameraNoise, PairEstimate, TransferFunction
from adaptsr_cli.errors import DataError
from adaptsr_cli.imaging.camera_noise import brightness_of, noise_of_residual
from adaptsr_cli.imaging.sharp_photographs import reduce_to_lr
from adaptsr_cli.imaging.transfer_function import apply_transfer

Image = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64
Complexes = np.ndarray[Any, np.dtype[np.complex128]]

_WINDOW_PX: Final = 48
_HANN: Final = np.hanning(_WINDOW_PX + 1)[:-1]
_LOWEST, _HIGHEST = 1.5 / 48, 23.5 / 48
# Windows whose coarse detail does not agree between the sides show two different things: motion, parallax.
_LEAST_COHERENCE: Final = 0.8
_COARSE: Final = 10 / 48
# What the fit is drawn to, and the standard deviations by which it may stray before pairs have to say so.
_PRIOR: Final = ((0.0, 2.0), (0.0, 0.6), (math.log(2.5), 0.5))
_MOST_BLUR_PX, _MOST_SHARPENING = 6.0, 3.0
# Residuals of neighbouring frequencies go together (a window's main lobe is four cells wide), so they count less.
_CELLS_PER_LOBE: Final = 4.0


def estimate_from_pairs(pairs: Sequence[tuple[Image, Image]], scale: int, *, round_blur: bool = False) -> PairEstimate:
    """Fits the transfer function and the noise of a camera to its pairs.

    Args:
        pairs: HR (scale H, scale W, 3) and LR (H, W, 3), uint8, registered to about half an LR pixel.
        scale: HR pixels per LR pixel.
        round_blur: Whether the blur is the same along all directions.

    Raises:
        DataError: No pair is large enough, or the sides of no window agree.
    """
    cross, hr_power, lr_power, windows, dropped = _gather(pairs, scale)
    gain = cross.real / np.maximum(hr_power, 1e-9)
    residual = np.maximum(lr_power - np.square(cross.real) / np.maximum(hr_power, 1e-9), 1e-9)
    fy, fx = np.fft.fftfreq(_WINDOW_PX)[:, None], np.fft.rfftfreq(_WINDOW_PX)[None]
    radius = np.hypot(fy, fx)
    used = (radius >= _LOWEST) & (radius <= _HIGHEST)
    # Of the least-squares m: residual power over the power that it is read from, in so many windows.
    variance = residual / np.maximum(hr_power, 1e-9) / windows * _CELLS_PER_LOBE + 0.01**2
    transfer = _fit(gain, variance, used, fy / scale, fx / scale, round_blur=round_blur)
    ring = np.rint(radius * _WINDOW_PX).astype(int)
    rings = range(2, 24)
    explained = np.square(cross.real) / np.maximum(hr_power * lr_power, 1e-9)
    means = [_ring_mean(gain, hr_power, ring == number) for number in rings]
    errors = [
        float(np.sqrt(_ring_mean(variance, hr_power, ring == n) / np.count_nonzero(ring == n) * 2)) for n in rings
    ]
    return PairEstimate(
        transfer=transfer,
        frequency=tuple(number / _WINDOW_PX / scale for number in rings),
        gain=tuple(means),
        error=tuple(errors),
        coherence=tuple(_ring_mean(explained, lr_power, ring == number) for number in rings),
        noise=_noise(pairs, scale, transfer),
        pairs=len(pairs),
        windows=windows,
        dropped=dropped,
    )


def _gather(pairs: Sequence[tuple[Image, Image]], scale: int) -> tuple[Complexes, Floats, Floats, int, int]:
    """Sum over windows of L H*, |H|^2, |L|^2, each (48, 25); how many windows; how many were dropped."""
    shape = (_WINDOW_PX, _WINDOW_PX // 2 + 1)
    cross, hr_power, lr_power = np.zeros(shape, complex), np.zeros(shape), np.zeros(shape)
    kept = dropped = 0
    for hr, lr in pairs:
        if min(lr.shape[:2]) < _WINDOW_PX:
            continue
        plain = reduce_to_lr(brightness_of(hr), scale)
        for clean, taken in zip(_spectra(plain), _spectra(brightness_of(lr)), strict=True):
            both = taken * clean.conj()
            both = both * _straightened(both)
            if _coherence(both, clean, taken) < _LEAST_COHERENCE:
                dropped += 1
                continue
            # Each window by its own contrast, so that the few brightest edges do not decide alone.
            weight = 1 / max(float(np.square(np.abs(clean)).sum()), 1e-9)
            cross += weight * both
            hr_power += weight * np.square(np.abs(clean))
            lr_power += weight * np.square(np.abs(taken))
            kept += 1
    if kept == 0:
        raise DataError(
            f"no window of {_WINDOW_PX} px of the {len(pairs)} pairs shows the same on both sides",
            "check the registration of the pairs",
        )
    return cross, hr_power, lr_power, kept, dropped


def _spectra(brightness: Floats) -> Complexes:
    """(N, 48, 25) of the Hann windows, without their means."""
    step = _WINDOW_PX // 2
    views = np.lib.stride_tricks.sliding_window_view(brightness, (_WINDOW_PX, _WINDOW_PX))[::step, ::step]
    windows = views.reshape(-1, _WINDOW_PX, _WINDOW_PX).astype(np.float64)
    windows = windows - windows.mean(axis=(1, 2), keepdims=True)
    return np.fft.rfft2(windows * _HANN[:, None] * _HANN[None])


def _straightened(both: Complexes) -> Complexes:
    """The phase that takes a window's remaining shift out of its cross spectrum.

    A shift d turns the phase by 2 pi f d; left in, it would be read as blur.
    """
    fy, fx = np.fft.fftfreq(_WINDOW_PX)[:, None], np.fft.rfftfreq(_WINDOW_PX)[None]
    coarse = (np.hypot(fy, fx) <= _COARSE) & (np.hypot(fy, fx) > 0)
    weight = np.abs(both[coarse])
    angle = np.angle(both[coarse])
    design = 2 * np.pi * np.stack([np.broadcast_to(fy, both.shape)[coarse], np.broadcast_to(fx, both.shape)[coarse]], 1)
    normal = design.T @ (weight[:, None] * design) + 1e-9 * np.eye(2)
    shift = np.linalg.solve(normal, design.T @ (weight * angle))
    turned: Complexes = np.exp(-2j * np.pi * (fy * shift[0] + fx * shift[1]))
    return turned


def _coherence(both: Complexes, clean: Complexes, taken: Complexes) -> float:
    """How much of the coarse detail both sides have in common, 0 to 1."""
    fy, fx = np.fft.fftfreq(_WINDOW_PX)[:, None], np.fft.rfftfreq(_WINDOW_PX)[None]
    coarse = np.hypot(fy, fx) <= _COARSE
    powers = np.square(np.abs(clean[coarse])).sum() * np.square(np.abs(taken[coarse])).sum()
    return float(both[coarse].real.sum() / max(math.sqrt(powers), 1e-9))


def _fit(gain: Floats, variance: Floats, used: Any, fy: Floats, fx: Floats, *, round_blur: bool) -> TransferFunction:
    """The model nearest to (48, 25) gains, with contrast as a free factor; the angle from several starts."""
    fy, fx = np.broadcast_to(fy, gain.shape)[used], np.broadcast_to(fx, gain.shape)[used]
    seen, weight = gain[used], 1 / np.sqrt(variance[used] * _CELLS_PER_LOBE)

    def model(row: Floats) -> TransferFunction:
        long_px, short_px = max(row[0], row[1]), min(row[0], row[1])
        if round_blur:
            return TransferFunction(blur_px=float(row[0]), sharpening=float(row[2]), radius_px=math.exp(row[3]))
        turned = float(row[4]) + (0 if row[0] >= row[1] else math.pi / 2)
        return TransferFunction(
            blur_px=float(long_px), short_blur_px=float(short_px), angle=turned, sharpening=float(row[2]),
            radius_px=math.exp(row[3]),
        )  # fmt: skip

    def residuals(row: Floats) -> Floats:
        (blur, blur_sd), (sharp, sharp_sd), (log_radius, radius_sd) = _PRIOR
        # The difference of the axes is drawn to zero as the blur itself is.
        priors = [(row[0] - blur) / blur_sd, (row[1] - row[0]) / blur_sd, (row[2] - sharp) / sharp_sd]
        priors += [(row[3] - log_radius) / radius_sd]
        return np.concatenate([weight * (row[5] * model(row).at_2d(fy, fx) - seen), priors])

    tried = []
    for angle in (0.0, math.pi / 4, math.pi / 2, 3 * math.pi / 4)[: 1 if round_blur else 4]:
        for strength in (0.1, 0.8):
            start = np.array([1.5, 1.2, strength, math.log(2.5), angle, 1.0])
            low = [0, 0, 0, math.log(0.8), angle - math.pi, 0.3]
            high = [_MOST_BLUR_PX, _MOST_BLUR_PX, _MOST_SHARPENING, math.log(8), angle + math.pi, 3]
            found = optimize.least_squares(residuals, start, bounds=(low, high))
            tried.append((float(found.cost), found.x))
    return model(min(tried, key=lambda one: one[0])[1])


def _ring_mean(values: Floats, weights: Floats, inside: Any) -> float:
    return float(np.average(values[inside], weights=np.maximum(weights[inside], 1e-12)))


def _noise(pairs: Sequence[tuple[Image, Image]], scale: int, transfer: TransferFunction) -> CameraNoise:
    residuals, scenes = [], []
    for hr, lr in pairs:
        predicted = reduce_to_lr(apply_transfer(transfer, hr), scale)[: lr.shape[0], : lr.shape[1]]
        taken = lr[: predicted.shape[0], : predicted.shape[1]].astype(np.float32)
        residuals.append((taken - predicted).reshape(-1, *predicted.shape[1:]))
        scenes.append(predicted)
    width = min(scene.shape[1] for scene in scenes)
    return noise_of_residual(
        np.concatenate([part[:, :width] for part in residuals]), np.concatenate([part[:, :width] for part in scenes])
    )
