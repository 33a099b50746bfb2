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
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np

from adaptsr_cli.artifacts.transfer import Band, CameraNoise, TransferEstimate, gain_of
from adaptsr_cli.errors import DataError
from adaptsr_cli.imaging import edges, spectra
from adaptsr_cli.imaging.bootstrap import EDGES, FIGURES, SPECTRUM, Testimony, hear, resample, summarise
from adaptsr_cli.imaging.camera_density import (
    BOUND_NOISE_SPREAD,
    DETAIL_NOISE,
    LOG_CORRELATION,
    LOG_GAIN,
    LOG_NOISE,
    LUMA_KEEPS,
    NOISE_SPREAD,
    Evidence,
    camera_columns,
    draw_cameras,
    expected_of,
    noise_power_of,
    transfer_of,
)
from adaptsr_cli.imaging.camera_noise import (
    DetailNoise,
    FileTrace,
    brightness_of,
    noise_of_photographs,
    trace_of,
    typical_levels,
)
from adaptsr_cli.imaging.posterior import Sample
from adaptsr_cli.imaging.sharp_photographs import SharpPhotographs, SimulatedCamera, simulate, simulate_traces
from adaptsr_cli.imaging.transfer_estimate import judge

Image = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64
Witness = Literal["both", "spectra", "edges"]

# Each simulation takes the place of the one before; the first two only lead to the camera: every third photograph.
_SIMULATED_OF: Final = (3, 3, 1)
_KEPT_DRAWS: Final = 64
_SEARCHED: Final = 3
_NODES: Final = 16
_PARTS, _LARGE = 4, 8
# Errors of the model itself, which no number of photographs makes smaller: of a log power, of a log edge response.
_MODEL_SPREAD: Final = (0.03, 0.05)
_OFFSET_SPREAD: Final = 0.25
# Blur, sharpening, its radius, contrast, and noise beside detail with its smoothness; other noise is measured.
_PARAMETERS: Final = 6
# Of the draws of noise beside detail, the share that lies below what the network is trained with.
_SURE_DETAIL_NOISE: Final = 0.1
# By so much the formulas above understate the variance: bands meant to hold 90 % held 78 % of 50 known cameras, which
# are not those that are reported (`benchmarks/transfer_estimate.py --part develop`).
_UNDERSTATED: Final = 1.6

DIFFERENT_SCENES: Final = 0.1
"""By default the camera's scenes may differ from the sharp ones, as collections, by this share of the variance between
photographs. So no number of photographs is worth more than ten: two collections are never of quite the same scenes."""


def estimate_from_photographs(
    photographs: Sequence[Image],
    sharp: SharpPhotographs,
    *,
    file_qualities: Sequence[int | None] | None = None,
    different_scenes: float = DIFFERENT_SCENES,
    seed: int = 0,
) -> TransferEstimate:
    """Estimate transfer function, noise and JPEG quality of a camera, and how far the estimate can be trusted.

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
    found = draw_cameras(evidence, rng)
    for step in _SIMULATED_OF:
        camera = SimulatedCamera(transfer_of(found.draws.mean(axis=0)), noise, qualities)
        if any(trace.is_bound for trace in traces):
            noise = _correct_noise(noise, levels, sharp, camera, rng)
        camera = SimulatedCamera(camera.transfer, noise, qualities)
        evidence = _simulated_evidence(evidence, heard, len(usable), sharp, camera, found, different_scenes, step, rng)
        found = draw_cameras(evidence, rng)
    misfit, freedom = _misfit(evidence, found)
    if misfit > freedom:
        # What no camera of the model explains makes every answer as much less certain (Birge 1932).
        evidence = replace(evidence, covariance=evidence.covariance * (misfit / freedom))
        found = draw_cameras(evidence, rng)
    noise = _with_noise_of_detail(noise, found, [photo for photo, _ in usable])
    return _conclude(evidence, found, noise, traces, misfit, freedom, rng)


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


def _first_evidence(seen: Floats, sharp: SharpPhotographs, noise: CameraNoise, traces: Sequence[FileTrace]) -> Evidence:
    spread = np.log(sharp.power).std(axis=0).mean()
    covariance = np.diag(np.full(FIGURES, spread**2 / 4))
    sure = np.mean([not trace.is_bound for trace in traces]) >= 0.5
    return Evidence(
        seen=seen,
        power=np.exp(_nodes(np.log(sharp.power))),
        response=sharp.response,
        following=sharp.following,
        scale=sharp.scale,
        noise_power=noise_power_of(noise),
        noise_spread=NOISE_SPREAD if sure else BOUND_NOISE_SPREAD,
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
    evidence: Evidence,
    heard: Sequence[Testimony],
    photographs: int,
    sharp: SharpPhotographs,
    camera: SimulatedCamera,
    found: Sample,
    different_scenes: float,
    step: int,
    rng: np.random.Generator,
) -> Evidence:
    """The evidence with what the formulas leave out, and with the scatter of photographs as this camera takes them."""
    luma_levels = camera.noise.levels * LUMA_KEEPS * math.exp(float(found.draws[:, LOG_NOISE].mean()))
    centre = found.draws.mean(axis=0)
    detail = DetailNoise(float(centre[DETAIL_NOISE]), math.exp(centre[LOG_CORRELATION]))
    simulated = simulate(sharp, camera, luma_levels, rng, step=step, detail=detail)
    centre[LOG_GAIN] = 0.0  # the simulation has the contrast of the sharp photographs
    evidence = replace(evidence, noise_power=noise_power_of(camera.noise))
    computed = expected_of(evidence, centre[None])[0]
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
    return replace(evidence, offset=offset, covariance=covariance, used=used)


def _heterogeneity(heard: Sequence[Testimony], simulated: Sequence[Testimony]) -> float:
    """How much more the camera's photographs differ from one another than the simulated ones do; at least 1."""
    if len(heard) < 8:  # too few to tell; their scatter is then that of the sharp photographs
        return 1.0
    ours, theirs = (np.array([photo.log_power for photo in photos]) for photos in (heard, simulated))
    # Without exposure and contrast, which are free.
    variances = [np.var(rows - rows.mean(axis=1, keepdims=True), axis=0, ddof=1).sum() for rows in (ours, theirs)]
    return float(np.clip(variances[0] / max(variances[1], 1e-9), 1.0, 4.0))


def _with_noise_of_detail(noise: CameraNoise, found: Sample, photographs: Sequence[Image]) -> CameraNoise:
    """The noise as the spectra show it: beside detail no more than they show for sure."""
    flat = noise.scaled(float(np.exp(np.median(found.draws[:, LOG_NOISE]))))
    sure = np.quantile(found.draws[:, DETAIL_NOISE], _SURE_DETAIL_NOISE) / LUMA_KEEPS
    # As smooth as in flat places: a camera's noise has one smoothness, whatever it grows with.
    beside_detail = DetailNoise(float(sure), flat.correlation_px).in_photographs(photographs)
    return flat.model_copy(update={"texture_variance": beside_detail.texture_variance})


def _misfit(evidence: Evidence, found: Sample) -> tuple[float, int]:
    """Chi-squared of the likeliest camera, and its degrees of freedom."""
    expected = expected_of(evidence, found.best[None])[0]
    off = (evidence.seen - evidence.offset - expected)[evidence.used]
    covariance = evidence.covariance[np.ix_(evidence.used, evidence.used)]
    return float(off @ np.linalg.solve(covariance, off)), max(len(off) - _PARAMETERS, 1)


def _conclude(
    evidence: Evidence,
    found: Sample,
    noise: CameraNoise,
    traces: Sequence[FileTrace],
    misfit: float,
    freedom: int,
    rng: np.random.Generator,
) -> TransferEstimate:
    """Each witness by itself, and all together with a verdict."""
    bands: dict[Witness, Band | None] = {"both": _band(evidence.scale, found)}
    for witness, part in (("spectra", SPECTRUM), ("edges", EDGES)):
        only = np.zeros(FIGURES, dtype=bool)
        only[part] = evidence.used[part]
        name: Witness = "spectra" if witness == "spectra" else "edges"
        alone = replace(evidence, used=only)
        bands[name] = _band(evidence.scale, draw_cameras(alone, rng)) if only.any() else None
    both = bands["both"]
    assert both is not None
    trustworthy, reason = judge(both, bands["spectra"], bands["edges"], misfit, freedom)
    qualities = sorted(trace.jpeg_quality for trace in traces if trace.jpeg_quality is not None)
    return TransferEstimate(
        transfer=transfer_of(np.median(found.draws, axis=0)),
        draws=tuple(transfer_of(row) for row in found.draws[:_KEPT_DRAWS]),
        band=both,
        by_spectra=bands["spectra"],
        by_edges=bands["edges"],
        noise=noise,
        jpeg_qualities=tuple(qualities),
        photographs=len(traces),
        misfit=misfit,
        freedom=freedom,
        trustworthy=trustworthy,
        reason=reason,
    )


def _band(scale: int, found: Sample) -> Band:
    blur, sharpening, radius = (column[:, None] for column in camera_columns(found.draws))
    return Band.of(gain_of(blur, sharpening, radius, Band.grid(scale)), scale)
