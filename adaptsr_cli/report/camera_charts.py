"""Charts of the report on a camera that was estimated, and on the guard of a training without pairs."""

from __future__ import annotations

import numpy as np

from adaptsr_cli.artifacts.camera import CameraEstimate
from adaptsr_cli.artifacts.guard import GuardRecord
from adaptsr_cli.artifacts.transfer import STRONG_CONTRAST, CameraNoise, PairEstimate, TransferEstimate
from adaptsr_cli.report.charts import Chart, line_chart

Estimate = CameraEstimate | TransferEstimate | PairEstimate


def describe_camera(estimate: Estimate) -> tuple[str, ...]:
    """What was found of a camera, in sentences for a photographer."""
    match estimate:
        case TransferEstimate():
            sure = "" if estimate.trustworthy else " It is not to be relied on."
            return (
                f"Found from {estimate.photographs} of its photographs: {estimate.describe()}.{sure}",
                f"Also possible: {estimate.describe_spread()}.",
            )
        case PairEstimate():
            return (f"Found from {estimate.describe_source()}: {estimate.describe()}.",)
        case CameraEstimate():
            return (f"Found from photographs with nothing to compare them with: {estimate.describe()}.",)


def camera_charts(estimate: Estimate) -> list[Chart]:
    """Transfer function and noise; nothing of a camera whose photographs were measured alone."""
    if isinstance(estimate, CameraEstimate):
        return []
    return [_transfer(estimate), _noise(estimate.noise)]


def _transfer(estimate: TransferEstimate | PairEstimate) -> Chart:
    if isinstance(estimate, TransferEstimate):
        band = estimate.band
        x = band.frequency
        lines = [("90 % likely", "faint", x, band.low), ("", "faint", x, band.high)]
        lines.append(("estimate", "strong", x, band.median))
    else:
        x = estimate.frequency
        lines = [("at each frequency", "faint", x, estimate.gain)]
        lines.append(("estimate", "strong", x, tuple(map(float, estimate.transfer.at(np.array(x))))))
    lines.append(("plain reduction", "level", (x[0], x[-1]), (1.0, 1.0)))
    summary = f"Contrast that the camera keeps over the fineness of detail: it {estimate.transfer.describe()}."
    return line_chart("Contrast kept by the camera", summary, "detail, cycles per HR pixel", lines, from_zero=True)


def _noise(noise: CameraNoise) -> Chart:
    levels = np.linspace(0, 255, 32)
    kinds = [("in flat places", "strong", 0.0)]
    if noise.texture_variance:
        kinds.append(("beside strong detail", "faint", STRONG_CONTRAST))
    x = tuple(map(float, levels))
    lines = [(name, style, x, tuple(map(float, noise.deviation(levels, contrast)))) for name, style, contrast in kinds]
    return line_chart("Noise, grey levels", f"{noise.describe()}.", "brightness", lines, from_zero=True)


def guard_charts(guard: GuardRecord | None) -> list[Chart]:
    """What the adapter gains over its strength, as the guard tried it; nothing without a guard."""
    if guard is None:
        return []
    lines = [
        ("nine in ten gain more", "strong", guard.strengths, guard.low_db),
        ("half gain more", "faint", guard.strengths, guard.median_db),
        ("backbone", "level", (guard.strengths[0], guard.strengths[-1]), (0.0, 0.0)),
    ]
    title = (
        "Simulated gain over plausible cameras (dB)"
        if guard.varied == "cameras"
        else "Gain over orders of colours (dB)"
    )
    return [line_chart(title, f"{guard.describe()}.", "strength", lines)]
