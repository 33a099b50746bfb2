"""What is known of a camera's transfer function: the likeliest one, its spread, and whether to trust it."""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np
from pydantic import Field
from scipy.stats import chi2

from adaptsr_cli.artifacts.base import StrictModel
from adaptsr_cli.imaging.camera_noise import CameraNoise
from adaptsr_cli.imaging.transfer_function import TransferFunction

Floats = np.ndarray[Any, np.dtype[Any]]  # float64

_POINTS: Final = 23
# Of the band between its ends, 90 % are inside; its standard deviation is this share of its width, were it normal.
_ENDS: Final = (0.05, 0.5, 0.95)
_WIDTH_IN_DEVIATIONS: Final = 3.29
# A training with a function this far off was found to do harm (blur 2.4 px for 1.6: 0.2 at the middle frequencies).
_WIDEST: Final = 0.5
# Between the witnesses, in standard deviations of their difference.
_FURTHEST: Final = 3.0
_LEAST_PROBABILITY: Final = 0.001


class Band(StrictModel):
    """The 90 % band of m(f).

    Attributes:
        frequency: Cycles per HR pixel, rising, up to the LR side's 11/24 cycles per pixel.
        low: 5th percentile of m at each.
        median: 50th.
        high: 95th.
    """

    frequency: tuple[float, ...]
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]

    @staticmethod
    def grid(scale: int) -> Floats:
        """The frequencies of a band for a scale: 1/48 to 23/48 cycles per LR pixel."""
        steps: Floats = np.arange(1, _POINTS + 1) / 48 / scale
        return steps

    @classmethod
    def of(cls, gains: Floats, scale: int) -> Band:
        """Of (draws, frequencies) values of m."""
        low, median, high = (tuple(map(float, row)) for row in np.quantile(gains, _ENDS, axis=0))
        return cls(frequency=tuple(map(float, cls.grid(scale))), low=low, median=median, high=high)

    @property
    def widest(self) -> float:
        """The greatest distance between its ends."""
        return float((np.array(self.high) - np.array(self.low)).max())


class TransferEstimate(StrictModel):
    """A camera as estimated without pairs.

    Attributes:
        transfer: The function of the median parameters.
        draws: Functions in proportion to how likely they are; training draws from these.
        band: Of m(f).
        by_spectra: The band by power spectra alone.
        by_edges: By edges alone; None where too few were found.
        noise: On the LR grid, before compression.
        jpeg_qualities: Of the photographs that are, or were, JPEG files, rising.
        photographs: How many of the camera's were looked at.
        misfit: Chi-squared of what was seen against the likeliest camera.
        trustworthy: Whether to train on it.
        reason: Why, or why not, in words.
    """

    transfer: TransferFunction
    draws: Annotated[tuple[TransferFunction, ...], Field(min_length=1)]
    band: Band
    by_spectra: Band | None
    by_edges: Band | None
    noise: CameraNoise
    jpeg_qualities: tuple[int, ...]
    photographs: Annotated[int, Field(gt=0)]
    misfit: Annotated[float, Field(ge=0)]
    trustworthy: bool
    reason: str

    def describe(self) -> str:
        """One line for people."""
        jpeg = f"JPEG quality {int(np.median(self.jpeg_qualities))}" if self.jpeg_qualities else "no JPEG"
        return f"this camera {self.transfer.describe()}; {self.noise.describe()}, {jpeg}; {self.reason}"


def disagreement(one: Band, other: Band) -> float:
    """How far two bands lie apart: the mean over frequency of the distance in standard deviations."""
    widths = [(np.array(band.high) - np.array(band.low)) / _WIDTH_IN_DEVIATIONS for band in (one, other)]
    apart = np.array(one.median) - np.array(other.median)
    return float(np.abs(apart / np.hypot(*np.maximum(widths, 1e-3))).mean())


def judge(both: Band, by_spectra: Band | None, by_edges: Band | None, misfit: float, freedom: int) -> tuple[bool, str]:
    """Whether an estimate can be trusted, and the reason in words.

    Args:
        both: The band of all figures together.
        by_spectra: Of spectra alone.
        by_edges: Of edges alone.
        misfit: Chi-squared.
        freedom: Figures less parameters.
    """
    if both.widest > _WIDEST:
        return False, f"the spread is too wide ({both.widest:.2f} of the contrast): more photographs would help"
    if by_spectra is not None and by_edges is not None and (apart := disagreement(by_spectra, by_edges)) > _FURTHEST:
        return False, f"spectra and edges disagree by {apart:.1f} standard deviations: other scenes, or other sharpness"
    if chi2.sf(misfit, max(freedom, 1)) < _LEAST_PROBABILITY:
        return False, "no blur, sharpening and noise explain what the photographs show"
    if by_edges is None:
        return True, "by spectra alone: too few edges to be a second witness"
    return True, "spectra and edges agree"
