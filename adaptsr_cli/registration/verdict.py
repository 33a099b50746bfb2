"""Whether a shot can be used, in a photographer's words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from adaptsr_cli.registration.blocks import Block, Reason
from adaptsr_cli.registration.geometry import Region
from adaptsr_cli.registration.new_detail import NewDetail

LEAST_ZOOM: Final = 1.25
"""Below this the tele photograph shows hardly more than the wide one."""
LEAST_KEPT_SHARE: Final = 0.1
MOST_P90_PX: Final = 0.25
LEAST_DETAIL: Final = 0.05
LEAST_NEW_SHARE: Final = 0.87
"""Of the power above the wide photograph's Nyquist frequency. On part `tune` of `benchmarks/digital_zoom.py` longer
lenses have 0.95 and more in the median block (a synthetic shot of a soft scene 0.90); enlarged photographs have less
than 0.87, or hardly anything there."""
LEAST_NEW_LEVELS: Final = 0.6
"""Root mean square, grey levels. By the same, longer lenses have 0.63 and more; what compression leaves of a soft
photograph, and is new too, is less."""
MUCH_NEW_LEVELS: Final = 3.0
"""Of so much new detail a share of `LEAST_SHARE_OF_MUCH` is enough: compression adds that much only to a zoom by
nearest neighbours, with shares to 0.4, while a wide photograph that aliases may predict a quarter of its scene."""
LEAST_SHARE_OF_MUCH: Final = 0.6
MOST_TELE_SOFTNESS: Final = 0.15
"""Half the difference of both blurs' variances in LR px^2 by which the tele photograph may be the softer one at LR's
own grid; a sharp one is not softer at all. It catches what `LEAST_DETAIL` cannot: a photograph so blurred that
nothing is left of either octave but noise."""

_WORDS: Final[dict[Reason, str]] = {
    "parallax": "too near: parallax, or things moved between the two photographs",
    "movement": "the scene moved, or something stands before it",
    "light": "the light changed between the two photographs",
    "saturation": "the photographs are burnt out or black",
    "tele defocus": "the tele photo is out of focus",
    "wide defocus": "the wide photo is out of focus",
    "no texture": "there is too little detail",
}


class Refused(Exception):
    """A shot of which nothing can be made.

    Args:
        reason: Why, one sentence for the photographer, without a full stop.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Verdict:
    """What became of a shot.

    Attributes:
        accepted: Whether its kept blocks are used.
        sentence: Why, for the photographer.
        kept_share: Of its blocks.
        median_px: Length of the trusted displacements in kept blocks, LR px.
        p90_px: Nine tenths are shorter.
        detail: Detail of HR beyond what LR can hold; see `detail_ratio`.
        new: Detail of the tele photograph that the wide one does not predict.
    """

    accepted: bool
    sentence: str
    kept_share: float
    median_px: float
    p90_px: float
    detail: float
    new: NewDetail


def judge(
    blocks: Sequence[Block],
    median_px: float,
    p90_px: float,
    detail: float,
    new: NewDetail,
    softness: float,
    region: Region,
) -> Verdict:
    """Apply the gates.

    Args:
        blocks: All of the shot.
        median_px: See `Verdict`.
        p90_px: See `Verdict`.
        detail: See `Verdict`.
        new: See `Verdict`.
        softness: See `MOST_TELE_SOFTNESS`.
        region: What both photographs show.
    """
    kept = sum(block.reason is None for block in blocks)
    share = kept / len(blocks) if blocks else 0.0
    accepted = False
    if not blocks:
        sentence = "the tele photograph shows too small a part of the wide one for a single block"
    elif softness > MOST_TELE_SOFTNESS or (kept > 0 and detail < LEAST_DETAIL):
        sentence = "the tele photo shows no more detail than the wide one: it is out of focus, shaken or a digital zoom"
    elif kept > 0 and not shows_new_detail(new):
        sentence = (
            "the tele photo shows no more detail than the wide one: all that it shows comes of enlarging that one, as "
            "a digital zoom does"
        )
    elif kept == 0 or share < LEAST_KEPT_SHARE:
        sentence = f"only {kept} of {len(blocks)} blocks can be used; {explain_drops(blocks, region)}"
    elif p90_px > MOST_P90_PX:
        sentence = (
            f"the photographs stay {p90_px:.2f} px apart after registration (at most {MOST_P90_PX} px): near things "
            "all over the picture, or a photograph that is shaken"
        )
    else:
        accepted = True
        dropped = explain_drops(blocks, region)
        sentence = f"{kept} of {len(blocks)} blocks kept" + (f"; the others: {dropped}" if dropped else "")
    return Verdict(accepted, sentence, share, median_px, p90_px, detail, new)


def shows_new_detail(new: NewDetail) -> bool:
    """Whether it is a longer lens's, and not that of a digital zoom."""
    least = LEAST_NEW_SHARE if new.levels < MUCH_NEW_LEVELS else LEAST_SHARE_OF_MUCH
    return new.levels >= LEAST_NEW_LEVELS and new.share >= least


def explain_drops(blocks: Sequence[Block], region: Region) -> str:
    """The main reasons for dropped blocks, most frequent first, and where in the picture."""
    counts = Counter(block.reason for block in blocks if block.reason is not None)
    total = sum(counts.values())
    parts = []
    for reason, count in counts.most_common(3):
        if count < 0.15 * total:
            continue
        where = _locate([block for block in blocks if block.reason == reason], region)
        parts.append(f"{_WORDS[reason]}{where} ({count})")
    return ", ".join(parts)


def _locate(blocks: Sequence[Block], region: Region) -> str:
    """`` at the right`` where nearly all of them are there; else nothing."""
    x = np.array([(b.region.left + b.region.width / 2 - region.left) / max(region.width, 1) for b in blocks])
    y = np.array([(b.region.top + b.region.height / 2 - region.top) / max(region.height, 1) for b in blocks])
    words = []
    for values, low, high in ((y, "top", "bottom"), (x, "left", "right")):
        if (values < 0.5).mean() > 0.85:
            words.append(low)
        elif (values > 0.5).mean() > 0.85:
            words.append(high)
    return f" at the {' '.join(words)}" if words else ""
