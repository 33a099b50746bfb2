"""How likely each camera is, by what its photographs show: the model of both witnesses, its prior, and its draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from adaptsr_cli.artifacts.transfer import CameraNoise, TransferFunction, gain_of
from adaptsr_cli.imaging import edges, spectra
from adaptsr_cli.imaging.bootstrap import EDGES, FIGURES, SPECTRUM
from adaptsr_cli.imaging.posterior import Sample, sample

Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64
Flags = np.ndarray[Any, np.dtype[np.bool_]]

# Columns of the parameters.
_BLUR, _SHARPENING, _LOG_RADIUS, LOG_GAIN, LOG_NOISE, DETAIL_NOISE, LOG_CORRELATION = range(7)
_MOST_BLUR_PX: Final = 5.0
# A small price for sharpening: what a little more of it explains, other scenes explain as well. Half of the prior is
# for cameras that hardly sharpen, half for those that do.
_NO_SHARPENING, _TYPICAL_SHARPENING = 0.08, 1.0
_TYPICAL_RADIUS_PX, _RADIUS_SPREAD = 2.8, 0.8
_GAIN_SPREAD: Final = 1.0
# How far the measured noise may be off, as a logarithm: where it was found by its whiteness, and where texture counts.
NOISE_SPREAD, BOUND_NOISE_SPREAD = 0.15, 0.5
# Noise of brightness beside detail, in grey levels, which a measure in flat places does not see. Without it, it was
# taken for detail where photographs hold little of that (x2), and the blur found too small.
_DETAIL_NOISE_LEVELS: Final = 2.0
# How smooth it is: what the pairs of three cameras left over was between 0.6 and 0.9 LR px.
_TYPICAL_CORRELATION_PX, _CORRELATION_SPREAD = 0.65, 0.3
# Of noise that is independent between the channels, the share that brightness keeps: the root of the squared weights.
LUMA_KEEPS: Final = 0.669
_FIRST_DRAWS: Final = 6000


@dataclass(frozen=True)
class Evidence:
    """All that the density is computed from; see `expected_of` and `draw_cameras`."""

    seen: Floats  # (FIGURES,)
    power: Floats  # (NODES, BANDS)
    response: Floats  # (F,)
    following: Floats  # (F,)
    scale: int
    noise_power: Floats  # (BANDS,) at the measured level
    noise_spread: float
    offset: Floats  # (FIGURES,) simulated less computed
    covariance: Floats  # (FIGURES, FIGURES)
    used: Flags  # (FIGURES,)


def expected_of(evidence: Evidence, parameters: Floats) -> Floats:
    """What cameras of these (P, 7) parameters would show, but for `offset`: (P, FIGURES)."""
    blur, sharpening, radius = (column[:, None] for column in camera_columns(parameters))
    power_gain = np.square(gain_of(blur, sharpening, radius, spectra.FREQUENCIES / evidence.scale))  # (P, BANDS)
    power_gain = power_gain * np.exp(parameters[:, LOG_GAIN, None])
    noise = evidence.noise_power * np.exp(2 * parameters[:, LOG_NOISE, None])
    detail_shape = _shape_of_noise(np.exp(parameters[:, LOG_CORRELATION, None]))
    noise = noise + np.square(parameters[:, DETAIL_NOISE, None]) * detail_shape
    expected = np.empty((len(parameters), FIGURES))
    for band in range(spectra.BANDS):  # (P, NODES) at a time: the logarithm is of each photograph, not of their mean
        power = power_gain[:, band, None] * evidence.power[None, :, band] + noise[:, band, None]
        expected[:, band] = np.log(power + 1e-6).mean(axis=1)
    gain = np.log(np.maximum(gain_of(blur, sharpening, radius, edges.FREQUENCIES / evidence.scale), 1e-3))
    expected[:, EDGES] = evidence.response + evidence.following * gain
    return expected


def _log_density(evidence: Evidence, parameters: Floats) -> Floats:
    blur, sharpening, _ = camera_columns(parameters)
    log_radius, log_gain, log_noise = (parameters[:, column] for column in (_LOG_RADIUS, LOG_GAIN, LOG_NOISE))
    prior = (
        np.log(_sharpening_density(np.maximum(sharpening, 0)))
        - 0.5 * ((log_radius - math.log(_TYPICAL_RADIUS_PX)) / _RADIUS_SPREAD) ** 2
        - 0.5 * (log_gain / _GAIN_SPREAD) ** 2
        - 0.5 * (log_noise / evidence.noise_spread) ** 2
        - 0.5 * (parameters[:, DETAIL_NOISE] / _DETAIL_NOISE_LEVELS) ** 2
        - 0.5 * ((parameters[:, LOG_CORRELATION] - math.log(_TYPICAL_CORRELATION_PX)) / _CORRELATION_SPREAD) ** 2
    )
    allowed = (blur >= 0) & (blur <= _MOST_BLUR_PX) & (sharpening >= 0) & (parameters[:, DETAIL_NOISE] >= 0)
    prior = np.where(allowed, prior, -np.inf)
    used = evidence.used
    off = (evidence.seen - evidence.offset - expected_of(evidence, parameters))[:, used]
    root = np.linalg.cholesky(evidence.covariance[np.ix_(used, used)])
    whitened = np.linalg.solve(root, off.T)
    density: Floats = prior - 0.5 * np.square(whitened).sum(axis=0)
    return density


def _sharpening_density(sharpening: Floats) -> Floats:
    """Of the prior, but for a constant: two exponentials."""
    parts = [np.exp(-sharpening / mean) / mean for mean in (_NO_SHARPENING, _TYPICAL_SHARPENING)]
    density: Floats = parts[0] + parts[1]
    return density


def draw_cameras(evidence: Evidence, rng: np.random.Generator) -> Sample:
    count = _FIRST_DRAWS
    plain = np.log(evidence.power + evidence.noise_power).mean(axis=0)
    shift = float((evidence.seen[SPECTRUM] - plain)[:3].mean())  # coarse detail: what blur and sharpening leave alone
    prior = np.stack(
        [
            rng.uniform(0, _MOST_BLUR_PX, count),
            rng.exponential(rng.choice((_NO_SHARPENING, _TYPICAL_SHARPENING), count)),
            rng.normal(math.log(_TYPICAL_RADIUS_PX), _RADIUS_SPREAD, count),
            rng.normal(np.clip(shift, -2, 2), 0.5, count),
            rng.normal(0, evidence.noise_spread, count),
            np.abs(rng.normal(0, _DETAIL_NOISE_LEVELS, count)),
            rng.normal(math.log(_TYPICAL_CORRELATION_PX), _CORRELATION_SPREAD, count),
        ],
        axis=1,
    )
    return sample(lambda parameters: _log_density(evidence, parameters), prior, rng)


def camera_columns(parameters: Floats) -> tuple[Floats, Floats, Floats]:
    """Blur, sharpening and radius of (P, 7) parameters: (P,) each."""
    return parameters[:, _BLUR], parameters[:, _SHARPENING], np.exp(parameters[:, _LOG_RADIUS])


def transfer_of(row: Floats) -> TransferFunction:
    return TransferFunction(
        blur_px=float(max(row[_BLUR], 0)),
        sharpening=float(max(row[_SHARPENING], 0)),
        radius_px=float(np.exp(row[_LOG_RADIUS])),
    )


def noise_power_of(noise: CameraNoise) -> Floats:
    """(BANDS,) power of the noise of brightness, smoothed as the camera smooths it."""
    power: Floats = _shape_of_noise(noise.correlation_px) * (noise.levels * LUMA_KEEPS) ** 2
    return power


def _shape_of_noise(correlation_px: Floats | float) -> Floats:
    """(..., BANDS) power of noise of variance 1 that is filtered by a Gaussian, of one or (P, 1) widths."""
    width = np.square(2 * math.pi * np.asarray(correlation_px))
    shape = np.exp(-width * np.square(spectra.FREQUENCIES))
    # Filtered noise keeps its variance, so what is missing at fine detail is added at coarse.
    along = np.exp(-width * np.square(np.fft.fftfreq(64))).mean(axis=-1, keepdims=True)
    found: Floats = shape / np.square(along)
    return found
