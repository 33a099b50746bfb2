"""The record of checked pairs in the cache folder, so that unchanged files need not be decoded again."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from adaptsr_cli.artifacts.base import FORMAT_VERSION, StrictModel

AlignmentVerdict = Literal["matched", "flat", "unmatched"]


class PairAlignment(StrictModel):
    """Measurement on the centre of one pair.

    Shifts are in pixels of the LR grid, for pairs of one size in pixels of the files. LR at (y + dy, x + dx) shows
    what HR shows at (y, x).

    Attributes:
        verdict: ``flat``: there is too little detail to tell; ``unmatched``: the sides do not show the same thing, or
            are shifted by more than an eighth of the window.
        dy_px: How much lower the LR side shows everything; 0 unless matched.
        dx_px: How much further right; 0 unless matched.
        match: Correlation of the details after the whole-pixel shift is corrected, in [-1, 1]; 0 where flat.
        gains: LR over HR, means of R, G and B in grey levels as stored, clipped pixels left out; None where not
            matched.
    """

    verdict: AlignmentVerdict
    dy_px: float = 0.0
    dx_px: float = 0.0
    match: Annotated[float, Field(ge=-1, le=1)] = 0.0
    gains: tuple[float, float, float] | None = None

    @property
    def shift_px(self) -> float:
        """Length of the shift."""
        return float(np.hypot(self.dy_px, self.dx_px))

    @property
    def whole(self) -> tuple[int, int]:
        """The shift in whole pixels, (dy, dx)."""
        return round(self.dy_px), round(self.dx_px)


class FileStamp(StrictModel):
    """Size and time by which a file is recognised as unchanged without being read."""

    path: str
    bytes: int
    mtime_ns: int


class PairMeasure(StrictModel):
    """Measurement of one pair, from decoding it.

    Attributes:
        lr: The LR file; None for a photograph.
        hr: The HR file.
        lr_print: Fingerprint of the LR file; None for a photograph.
        hr_print: Fingerprint of the HR file.
        lr_px: (width, height) of the LR side; (0, 0) for a photograph.
        hr_px: (width, height) of the HR side.
        alignment: None where it was not measured.
        is_result: Whether a photograph is none but a result of ``adaptsr upscale``; not looked for in pairs.
    """

    lr: FileStamp | None
    hr: FileStamp
    lr_print: str | None
    hr_print: str
    lr_px: tuple[int, int]
    hr_px: tuple[int, int]
    alignment: PairAlignment | None = None
    is_result: bool = False

    def __str__(self) -> str:
        return f"LR {self.lr_px[0]} x {self.lr_px[1]}, HR {self.hr_px[0]} x {self.hr_px[1]}"


class PreflightRecord(StrictModel):
    """``preflight/<hash of the root>.json`` in the cache folder: all pairs of one root that were found whole."""

    artifact: Literal["preflight"] = "preflight"
    format_version: Literal[1] = FORMAT_VERSION
    root: str
    pairs: tuple[PairMeasure, ...]
