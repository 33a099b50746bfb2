"""A camera's transfer function from its LR photographs and from sharp photographs of other scenes: no pairs.

Two witnesses are compared with what the sharp photographs show after the plain reduction: power spectra and the
sharpest edges. Scenes differ, so neither is worth more than the scatter between photographs leaves of it; that scatter,
measured over the sharp photographs as the camera would have taken them, weighs all figures against each other
(generalised least squares) and gives every answer its spread. What the formulas leave out (aliasing, JPEG, which edges
become the sharpest) is put right by simulating the camera and measuring the simulation in the same way (indirect
inference, Gourieroux, Monfort and Renault 1993).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from adaptsr_cli.errors import DataError
from adaptsr_cli.imaging import edges, spectra
from adaptsr_cli.imaging.bootstrap import EDGES, FIGURES, SPECTRUM, Testimony, hear, resample, summarise
from adaptsr_cli.imaging.camera_noise import (
    CameraNoise,
    FileTrace,
    brightness_of,
    noise_of_photographs,
    trace_of,
    typical_levels,
)
from adaptsr_cli.imaging.posterior import Sample, sample
from adaptsr_cli.imaging.sharp_photographs import SharpPhotographs, SimulatedCamera, simulate, simulate_traces
from adaptsr_cli.imaging.transfer_estimate import Band, TransferEstimate, judge
from adaptsr_cli.imaging.transfer_function import TransferFunction, gain_of

Image = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Witness = Literal["both", "spectra", "edges"]

# Columns of the parameters.
_BLUR, _SHARPENING, _LOG_RADIUS, _LOG_GAIN, _LOG_NOISE = range(5)
_MOST_BLUR_PX: Final = 5.0
# A small price for sharpening: what a little more of it explains, other scenes explain as well. Half of the prior is
# for cameras that hardly sharpen, half for those that do.
_NO_SHARPENING, _TYPICAL_SHARPENING = 0.08, 1.0
_TYPICAL_RADIUS_PX, _RADIUS_SPREAD = 2.8, 0.8
_GAIN_SPREAD: Final = 1.0
# How far the measured noise may be off, as a logarithm: where it was found by its whiteness, and where texture counts.
_NOISE_SPREAD, _BOUND_NOISE_SPREAD = 0.15, 0.5
# Of noise that is independent between the channels, the share that brightness keeps: the root of the squared weights.
_LUMA_KEEPS: Final = 0.669
# Each simulation takes the place of the one before; the first two only lead to the camera: every third photograph.
_SIMULATED_OF: Final = (3, 3, 1)
_KEPT_DRAWS: Final = 64
_SEARCHED: Final = 3
_NODES: Final = 16
_PARTS, _LARGE = 4, 8
# Errors of the model itself, which no number of photographs makes smaller: of a log power, of a log edge response.
_MODEL_SPREAD: Final = (0.03, 0.05)
_OFFSET_SPREAD: Final = 0.25
# By so much the formulas above understate the variance: bands meant to hold 90 % held 78 % of 50 known cameras, which
# are not those that are reported (`benchmarks/transfer_estimate.py --part develop`).
_UNDERSTATED: Final = 1.6

DIFFERENT_SCENES: Final = 0.1
"""By default the camera's scenes may differ from the sharp ones, as collections, by this share of the variance between
photographs. So no number of photographs is worth more than ten: two collections are never of quite the same scenes."""


@dataclass(frozen=True)
class _Evidence:
    """All that the density is computed from; see `_log_density`."""

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


def estimate_from_photographs(
    photographs: Sequence[Image],
    sharp: SharpPhotographs,
    *,
    file_qualities: Sequence[int | None] | None = None,
    different_scenes: float = DIFFERENT_SCENES,
    seed: int = 0,
) -> TransferEstimate:
    """Estimates transfer function, noise and JPEG quality of a camera, and how far the estimate can be trusted.

    Args:
        photographs: (H, W, 3) uint8, as the camera wrote them, not reduced; those smaller than a window are left out.
        sharp: The photographs to compare with, which the network is trained on.
        file_qualities: Of each photograph the JPEG quality that its file states; left out: looked for in the pixels.
        different_scenes: Variance between the two collections of scenes over that between photographs; 0 where both
            are random draws of one collection.
        seed: Of simulation and sampling.

    Raises:
        DataError: No photograph is large enough.
    """
    stated = [None] * len(photographs) if file_qualities is None else list(file_qualities)
    usable = [(p, q) for p, q in zip(photographs, stated, strict=True) if min(p.shape[:2]) >= spectra.WINDOW_PX]
    if not usable:
        raise DataError(
            f"no LR photograph is as large as {spectra.WINDOW_PX} x {spectra.WINDOW_PX} px",
            "add larger photographs of the camera",
        )
    rng = np.random.default_rng(seed)
    traces = _trace(usable)
    levels = typical_levels(traces)
    heard = [
        hear(brightness_of(part), trace.noise_levels)
        for (photo, _), trace in zip(usable, traces, strict=True)
        for part in _parts(photo, sharp, rng)
    ]
    noise = noise_of_photographs([photo for photo, _ in usable], levels)
    qualities = tuple(trace.jpeg_quality for trace in traces)
    evidence = _first_evidence(summarise(heard), sharp, noise, traces)
    found = _sample(evidence, rng)
    for step in _SIMULATED_OF:
        camera = SimulatedCamera(_transfer(found.draws.mean(axis=0)), noise, qualities)
        if any(trace.is_bound for trace in traces):
            noise = _correct_noise(noise, levels, sharp, camera, rng)
        camera = SimulatedCamera(camera.transfer, noise, qualities)
        evidence = _simulated_evidence(evidence, heard, len(usable), sharp, camera, found, different_scenes, step, rng)
        found = _sample(evidence, rng)
    return _conclude(evidence, found, noise.scaled(float(np.exp(np.median(found.draws[:, _LOG_NOISE])))), traces, rng)


def _trace(photographs: Sequence[tuple[Image, int | None]]) -> list[FileTrace]:
    """Noise and JPEG quality of each; once three show no trace of JPEG, the others are not searched."""
    traces: list[FileTrace] = []
    for photo, quality in photographs:
        searched = len(traces) < _SEARCHED or any(trace.jpeg_quality is not None for trace in traces)
        traces.append(trace_of(photo, file_quality=quality, look_for_jpeg=searched))
    return traces


def _parts(photo: Image, sharp: SharpPhotographs, rng: np.random.Generator) -> list[Image]:
    """A large photograph in parts that are as large as the reduced sharp ones, at most four; else the photograph.

    The windows of a whole photograph at full size would be averaged over more of it than those of a reduced one.
    """
    height, width = (int(np.median([p.shape[axis] for p in sharp.brightness])) // sharp.scale for axis in (0, 1))
    if photo.shape[0] * photo.shape[1] < _LARGE * height * width:
        return [photo]
    height, width = min(height, photo.shape[0]), min(width, photo.shape[1])
    corners = [
        (int(rng.integers(photo.shape[0] - height + 1)), int(rng.integers(photo.shape[1] - width + 1)))
        for _ in range(_PARTS)
    ]
    return [photo[top : top + height, left : left + width] for top, left in corners]


def _nodes(log_power: Floats) -> Floats:
    """(NODES, BANDS) of (M, BANDS): each band's values in order, averaged in groups: fewer to sum over."""
    ordered = np.sort(log_power, axis=0)
    return np.array([group.mean(axis=0) for group in np.array_split(ordered, min(_NODES, len(ordered)))])


def _first_evidence(
    seen: Floats, sharp: SharpPhotographs, noise: CameraNoise, traces: Sequence[FileTrace]
) -> _Evidence:
    spread = np.log(sharp.power).std(axis=0).mean()
    covariance = np.diag(np.full(FIGURES, spread**2 / 4))
    sure = np.mean([not trace.is_bound for trace in traces]) >= 0.5
    return _Evidence(
        seen=seen,
        power=np.exp(_nodes(np.log(sharp.power))),
        response=sharp.response,
        following=sharp.following,
        scale=sharp.scale,
        noise_power=_noise_power(noise),
        noise_spread=_NOISE_SPREAD if sure else _BOUND_NOISE_SPREAD,
        offset=np.zeros(FIGURES),
        covariance=covariance,
        used=~np.isnan(seen) & ~np.isnan(np.concatenate([np.zeros(spectra.BANDS), sharp.response])),
    )


def _correct_noise(
    noise: CameraNoise, levels: float, sharp: SharpPhotographs, camera: SimulatedCamera, rng: np.random.Generator
) -> CameraNoise:
    """Texture is measured as noise; a simulation that is measured as too noisy shows by how much."""
    simulated = typical_levels(simulate_traces(sharp, camera, rng))
    # Both have the floor that rounding leaves; half steps at most, since where noise drowns in texture the ratio tells
    # nothing.
    factor = math.sqrt(max(levels**2, 1e-4) / max(simulated**2, 1e-4))
    return noise.scaled(float(np.clip(factor, 0.5, 1.5)))


def _simulated_evidence(
    evidence: _Evidence,
    heard: Sequence[Testimony],
    photographs: int,
    sharp: SharpPhotographs,
    camera: SimulatedCamera,
    found: Sample,
    different_scenes: float,
    step: int,
    rng: np.random.Generator,
) -> _Evidence:
    """The evidence with what the formulas leave out, and with the scatter of photographs as this camera takes them."""
    luma_levels = camera.noise.levels * _LUMA_KEEPS * math.exp(float(found.draws[:, _LOG_NOISE].mean()))
    simulated = simulate(sharp, camera, luma_levels, rng, step=step)
    centre = found.draws.mean(axis=0)
    centre[_LOG_GAIN] = 0.0  # the simulation has the contrast of the sharp photographs
    noise_power = _noise_power(camera.noise)
    computed = _expected(evidence, centre[None], noise_power)[0]
    scatter = resample(simulated, photographs, rng)  # parts of one photograph are no further witnesses
    whole = summarise(simulated)
    # Few photographs hold few edges, whose sharpest are less sharp than those of many.
    whole[EDGES] = scatter.mean[EDGES] if scatter.has_edges else np.nan
    offset = whole - computed
    share = 1 + photographs / len(simulated) + photographs * different_scenes
    # A covariance from few photographs makes its inverse too large (Hartlap, Simon and Schneider 2007).
    few = _UNDERSTATED * (len(simulated) - 1) / max(len(simulated) - FIGURES - 2, 1)
    covariance = scatter.covariance * share * few * _heterogeneity(heard, simulated)
    covariance += np.diag(np.repeat(np.square(_MODEL_SPREAD), (spectra.BANDS, len(edges.FREQUENCIES))))
    used = evidence.used & ~np.isnan(offset)
    offset = np.where(np.isnan(offset), 0, offset)
    # The offset holds for the simulated camera, and changes over the cameras that the photographs leave possible.
    covariance += np.outer(_OFFSET_SPREAD * offset, _OFFSET_SPREAD * offset) + np.diag((_OFFSET_SPREAD * offset) ** 2)
    return _Evidence(
        seen=evidence.seen,
        power=evidence.power,
        response=evidence.response,
        following=evidence.following,
        scale=evidence.scale,
        noise_power=noise_power,
        noise_spread=evidence.noise_spread,
        offset=offset,
        covariance=covariance,
        used=used,
    )


def _heterogeneity(heard: Sequence[Testimony], simulated: Sequence[Testimony]) -> float:
    """How much more the camera's photographs differ from one another than the simulated ones do; at least 1."""
    if len(heard) < 8:  # too few to tell; their scatter is then that of the sharp photographs
        return 1.0
    ours, theirs = (np.array([photo.log_power for photo in photos]) for photos in (heard, simulated))
    # Without exposure and contrast, which are free.
    variances = [np.var(rows - rows.mean(axis=1, keepdims=True), axis=0, ddof=1).sum() for rows in (ours, theirs)]
    return float(np.clip(variances[0] / max(variances[1], 1e-9), 1.0, 4.0))


def _expected(evidence: _Evidence, parameters: Floats, noise_power: Floats) -> Floats:
    """What cameras of these (P, 5) parameters would show, but for `offset`: (P, FIGURES)."""
    blur, sharpening, radius = (column[:, None] for column in _camera_columns(parameters))
    power_gain = np.square(gain_of(blur, sharpening, radius, spectra.FREQUENCIES / evidence.scale))  # (P, BANDS)
    power_gain = power_gain * np.exp(parameters[:, _LOG_GAIN, None])
    noise = noise_power * np.exp(2 * parameters[:, _LOG_NOISE, None])
    expected = np.empty((len(parameters), FIGURES))
    for band in range(spectra.BANDS):  # (P, NODES) at a time: the logarithm is of each photograph, not of their mean
        power = power_gain[:, band, None] * evidence.power[None, :, band] + noise[:, band, None]
        expected[:, band] = np.log(power + 1e-6).mean(axis=1)
    gain = np.log(np.maximum(gain_of(blur, sharpening, radius, edges.FREQUENCIES / evidence.scale), 1e-3))
    expected[:, EDGES] = evidence.response + evidence.following * gain
    return expected


def _log_density(evidence: _Evidence, parameters: Floats) -> Floats:
    blur, sharpening, _ = _camera_columns(parameters)
    log_radius, log_gain, log_noise = (parameters[:, column] for column in (_LOG_RADIUS, _LOG_GAIN, _LOG_NOISE))
    prior = (
        np.log(_sharpening_density(np.maximum(sharpening, 0)))
        - 0.5 * ((log_radius - math.log(_TYPICAL_RADIUS_PX)) / _RADIUS_SPREAD) ** 2
        - 0.5 * (log_gain / _GAIN_SPREAD) ** 2
        - 0.5 * (log_noise / evidence.noise_spread) ** 2
    )
    allowed = (blur >= 0) & (blur <= _MOST_BLUR_PX) & (sharpening >= 0)
    prior = np.where(allowed, prior, -np.inf)
    used = evidence.used
    off = (evidence.seen - evidence.offset - _expected(evidence, parameters, evidence.noise_power))[:, used]
    root = np.linalg.cholesky(evidence.covariance[np.ix_(used, used)])
    whitened = np.linalg.solve(root, off.T)
    density: Floats = prior - 0.5 * np.square(whitened).sum(axis=0)
    return density


def _sharpening_density(sharpening: Floats) -> Floats:
    """Of the prior, but for a constant: two exponentials."""
    parts = [np.exp(-sharpening / mean) / mean for mean in (_NO_SHARPENING, _TYPICAL_SHARPENING)]
    density: Floats = parts[0] + parts[1]
    return density


def _sample(evidence: _Evidence, rng: np.random.Generator) -> Sample:
    count = 6000
    plain = np.log(evidence.power + evidence.noise_power).mean(axis=0)
    shift = float((evidence.seen[SPECTRUM] - plain)[:3].mean())  # coarse detail: what blur and sharpening leave alone
    prior = np.stack(
        [
            rng.uniform(0, _MOST_BLUR_PX, count),
            rng.exponential(rng.choice((_NO_SHARPENING, _TYPICAL_SHARPENING), count)),
            rng.normal(math.log(_TYPICAL_RADIUS_PX), _RADIUS_SPREAD, count),
            rng.normal(np.clip(shift, -2, 2), 0.5, count),
            rng.normal(0, evidence.noise_spread, count),
        ],
        axis=1,
    )
    return sample(lambda parameters: _log_density(evidence, parameters), prior, rng)


def _conclude(
    evidence: _Evidence, found: Sample, noise: CameraNoise, traces: Sequence[FileTrace], rng: np.random.Generator
) -> TransferEstimate:
    """Each witness by itself, and all together with a verdict."""
    bands: dict[Witness, Band | None] = {"both": _band(evidence.scale, found)}
    for witness, part in (("spectra", SPECTRUM), ("edges", EDGES)):
        only = np.zeros(FIGURES, dtype=bool)
        only[part] = evidence.used[part]
        name: Witness = "spectra" if witness == "spectra" else "edges"
        alone = _Evidence(**{**evidence.__dict__, "used": only})
        bands[name] = _band(evidence.scale, _sample(alone, rng)) if only.any() else None
    off = (evidence.seen - evidence.offset - _expected(evidence, found.best[None], evidence.noise_power)[0])[
        evidence.used
    ]
    misfit = float(off @ np.linalg.solve(evidence.covariance[np.ix_(evidence.used, evidence.used)], off))
    both = bands["both"]
    assert both is not None
    trustworthy, reason = judge(both, bands["spectra"], bands["edges"], misfit, int(evidence.used.sum()) - 4)
    qualities = sorted(trace.jpeg_quality for trace in traces if trace.jpeg_quality is not None)
    return TransferEstimate(
        transfer=_transfer(np.median(found.draws, axis=0)),
        draws=tuple(_transfer(row) for row in found.draws[:_KEPT_DRAWS]),
        band=both,
        by_spectra=bands["spectra"],
        by_edges=bands["edges"],
        noise=noise,
        jpeg_qualities=tuple(qualities),
        photographs=len(traces),
        misfit=misfit,
        trustworthy=trustworthy,
        reason=reason,
    )


def _band(scale: int, found: Sample) -> Band:
    blur, sharpening, radius = (column[:, None] for column in _camera_columns(found.draws))
    return Band.of(gain_of(blur, sharpening, radius, Band.grid(scale)), scale)


def _camera_columns(parameters: Floats) -> tuple[Floats, Floats, Floats]:
    """Blur, sharpening and radius of (P, 5) parameters."""
    return parameters[:, _BLUR], parameters[:, _SHARPENING], np.exp(parameters[:, _LOG_RADIUS])


def _transfer(row: Floats) -> TransferFunction:
    return TransferFunction(
        blur_px=float(max(row[_BLUR], 0)),
        sharpening=float(max(row[_SHARPENING], 0)),
        radius_px=float(np.exp(row[_LOG_RADIUS])),
    )


def _noise_power(noise: CameraNoise) -> Floats:
    """(BANDS,) power of the noise of brightness, smoothed as the camera smooths it."""
    shape = np.exp(-((2 * math.pi * noise.correlation_px * spectra.FREQUENCIES) ** 2))
    # Filtered noise keeps its variance, so what is missing at fine detail is added at coarse.
    sides = np.fft.fftfreq(64)
    whole = np.exp(-((2 * math.pi * noise.correlation_px) ** 2) * (sides[:, None] ** 2 + sides[None] ** 2)).mean()
    power: Floats = shape / whole * (noise.levels * _LUMA_KEEPS) ** 2
    return power
