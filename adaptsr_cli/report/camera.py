"""Figure of a camera as photographs or pairs show it: transfer function, how sure it is, and noise over brightness."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from adaptsr_cli.artifacts.transfer import STRONG_CONTRAST, CameraNoise, PairEstimate, TransferEstimate
from adaptsr_cli.report.page import MUTED, axes_in, page_of, write_heading
from adaptsr_cli.units import plural

_BLUE, _ORANGE, _GREEN = "#0072b2", "#d55e00", "#009e73"  # of Okabe and Ito, as in `figures`
_WIDTH_IN: Final = 10.2


def draw_camera(path: Path, estimate: TransferEstimate | PairEstimate) -> None:
    """Draw an estimate.

    Args:
        path: The PNG to write.
        estimate: From unpaired photographs, or from pairs.

    Raises:
        AdaptsrError: The file cannot be written.
    """
    with page_of(path, _WIDTH_IN, 4.6) as figure:
        write_heading(figure, f"This camera {estimate.transfer.describe()}", *_describe_estimate(estimate))
        axes = axes_in(figure, 0.75, 1.3, 5.3, 2.7)
        if isinstance(estimate, TransferEstimate):
            _draw_transfer(axes, estimate)
        else:
            _draw_pair_transfer(axes, estimate)
        axes.set(xlabel="detail, cycles per HR pixel", ylim=(0, None))
        axes.set_title(
            "Contrast of detail over that of the plain reduction", loc="left", fontsize=10, fontweight="bold"
        )
        axes.legend(frameon=False, fontsize=8)
        _draw_noise(axes_in(figure, 6.9, 1.3, 3.0, 2.7), estimate.noise)


def _describe_estimate(estimate: TransferEstimate | PairEstimate) -> tuple[str, str]:
    """What it was found from, and how sure it is."""
    if isinstance(estimate, PairEstimate):
        return f"from {estimate.describe_source()}", "the noise holds what JPEG and misregistration leave too"
    sure = "trustworthy" if estimate.trustworthy else "not to be relied on"
    return (
        f"from {plural(estimate.photographs, 'photo')}, {sure}: {estimate.reason}",
        f"also possible: {estimate.describe_spread()}; {_describe_jpeg(estimate)}",
    )


def _describe_jpeg(estimate: TransferEstimate) -> str:
    if not estimate.jpeg_qualities:
        return "no JPEG"
    low, high = estimate.jpeg_qualities[0], estimate.jpeg_qualities[-1]
    quality = f"{low}" if low == high else f"{low} to {high}"
    return f"JPEG quality {quality} ({len(estimate.jpeg_qualities)} of {estimate.photographs})"


def _draw_transfer(axes: Axes, estimate: TransferEstimate) -> None:
    """Over frequency, with the 90 % band and what each witness says alone."""
    band = estimate.band
    axes.axhline(1, color=MUTED, linewidth=0.8, linestyle=":", label="plain reduction")
    axes.fill_between(band.frequency, band.low, band.high, color=_BLUE, alpha=0.2, linewidth=0, label="90 % likely")
    axes.plot(band.frequency, band.median, color=_BLUE, linewidth=1.8, label="estimate")
    for name, witness, colour in (("spectra", estimate.by_spectra, _ORANGE), ("edges", estimate.by_edges, _GREEN)):
        if witness is not None:
            axes.plot(witness.frequency, witness.median, color=colour, linewidth=1, linestyle="--", label=name)
    axes.set_xlim(0, band.frequency[-1])


def _draw_pair_transfer(axes: Axes, estimate: PairEstimate) -> None:
    """Over frequency, with what was found at each and its standard error."""
    frequency = np.array(estimate.frequency)
    axes.axhline(1, color=MUTED, linewidth=0.8, linestyle=":", label="plain reduction")
    axes.errorbar(
        frequency, estimate.gain, yerr=estimate.error, color=_ORANGE, fmt=".", linewidth=1, label="at each frequency"
    )
    axes.plot(frequency, estimate.transfer.at(frequency), color=_BLUE, linewidth=1.8, label="estimate")
    axes.set_xlim(0, frequency[-1])


def _draw_noise(axes: Axes, noise: CameraNoise) -> None:
    """Standard deviation over brightness."""
    levels = np.linspace(0, 255, 64)
    deviation = noise.deviation(levels)
    axes.plot(levels, deviation, color=_BLUE, linewidth=1.8, label="in flat places")
    if noise.texture_variance:
        deviation = noise.deviation(levels, STRONG_CONTRAST)
        axes.plot(levels, deviation, color=_ORANGE, linewidth=1.8, label="beside strong detail")
        axes.legend(frameon=False, fontsize=8)
    axes.set(xlabel="brightness, 0 to 255", xlim=(0, 255), ylim=(0, max(1.0, 1.2 * float(deviation.max()))))
    axes.set_title("Noise, grey levels", loc="left", fontsize=10, fontweight="bold")
