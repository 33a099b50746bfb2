"""Whether to trust an estimate of a camera: how wide it is, and whether its witnesses agree."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.stats import chi2

from adaptsr_cli.artifacts.transfer import Band

# Of the band between its ends, 90 % are inside; its standard deviation is this share of its width, were it normal.
_WIDTH_IN_DEVIATIONS: Final = 3.29
# A training with a function this far off was found to do harm (blur 2.4 px for 1.6: 0.2 at the middle frequencies).
_WIDEST: Final = 0.5
# Between the witnesses, in standard deviations of their difference.
_FURTHEST: Final = 3.0
_LEAST_PROBABILITY: Final = 0.001


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
