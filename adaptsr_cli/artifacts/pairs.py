"""``pairs.json``: where pairs made by ``adaptsr pair`` come from, and how exact they are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adaptsr_cli.artifacts.base import FORMAT_VERSION, StrictModel

Share = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern=r"[0-9a-f]{64}")]


class SourceRecord(StrictModel):
    """One photograph.

    Attributes:
        file: Its name, without folders.
        sha256: Of the file.
        width_px: As displayed.
        height_px: As displayed.
        bits: A channel.
        focal_mm: Focal length; None where EXIF does not tell.
        focal_35_mm: The same on 24 x 36 mm.
        taken: ISO time of the camera.
        camera: Model.
        rendering: Of a raw file.
    """

    file: str
    sha256: Sha256
    width_px: int
    height_px: int
    bits: Literal[8, 16]
    focal_mm: float | None
    focal_35_mm: float | None
    taken: str | None
    camera: str | None
    rendering: str | None


class LensRecord(StrictModel):
    """Radial distortion c + (p - c)(1 + k1 r^2 + k2 r^4), in half diagonals from the middle of the photograph."""

    k1: float
    k2: float
    x: float
    y: float


class CorrectionRecord(StrictModel):
    """A smooth rest of the mapping: a polynomial that displaces LR pixels.

    Attributes:
        degree: 0 where none helped.
        held_out_before_px: Residual on places it was not fitted to, without it.
        held_out_after_px: With it.
        centre: LR px where its coordinates are 0.
        radius_px: Where they are 1.
        coefficients: (x, y) of each term 1, x, y, x^2, xy, y^2 ...
    """

    degree: int
    held_out_before_px: NotNegative
    held_out_after_px: NotNegative
    centre: tuple[float, float] | None
    radius_px: float | None
    coefficients: tuple[tuple[float, float], ...]


class MappingRecord(StrictModel):
    """From LR pixel to tele pixel: correction, wide lens, homography, tele lens.

    Attributes:
        zoom: Tele pixels per pixel of the wide photograph.
        zoom_by_exif: The same by the focal lengths; None where EXIF does not tell.
        rotation_deg: Of tele against wide, in the middle.
        reduction: Wide pixels per LR pixel; 1 where LR is the wide photograph itself.
        homography: By rows, in half diagonals from the middle of both photographs.
        wide: Distortion from photograph to ideal image.
        tele: Distortion from ideal image to photograph.
        matches: Features that were matched.
        agreeing: Those of them that follow the mapping's start.
    """

    zoom: float
    zoom_by_exif: float | None
    rotation_deg: float
    reduction: float
    homography: tuple[float, ...]
    wide: LensRecord
    tele: LensRecord
    correction: CorrectionRecord
    matches: int
    agreeing: int


class PhotometryRecord(StrictModel):
    """What was done to HR's colours, or would have been; grey levels of 0 to 255.

    Attributes:
        applied: False under ``--keep-colour``.
        model: What was fitted.
        terms: Exponents of T / 255, x and y of each number; x and y from -1 to 1 over the region.
        coefficients: A row for each of R, G and B.
        range_levels: In which it was fitted; it goes on straight outside.
        gains: In the middle.
        offsets: What black becomes.
        before_levels: Mean difference of both photographs without it.
        held_out_levels: With it, on places it was not fitted to.
    """

    applied: bool
    model: str
    terms: tuple[tuple[int, int, int], ...]
    coefficients: tuple[tuple[float, ...], ...]
    range_levels: tuple[tuple[float, float], ...]
    gains: tuple[float, ...]
    offsets: tuple[float, ...]
    before_levels: float
    held_out_levels: float


class ResidualRecord(StrictModel):
    """How far both photographs are apart where it can be measured, LR px.

    Attributes:
        before_px: Median and 90th percentile over all trusted places, before the correction.
        after_px: The same with it.
        kept_px: The same with it, in kept blocks.
        calibration: What the Cramer-Rao bounds were multiplied by.
        detail: Power of HR in the octave above LR's Nyquist frequency over that below.
    """

    before_px: tuple[float, float]
    after_px: tuple[float, float]
    kept_px: tuple[float, float]
    calibration: float
    detail: float


class BlockRecord(StrictModel):
    """One block of LR.

    Attributes:
        name: Of its files, without suffix; None where it was dropped.
        left: LR px.
        top: LR px.
        reason: Why it was dropped.
        shift_px: Median residual (x, y).
        worst_px: Longest residual.
    """

    name: str | None
    left: int
    top: int
    reason: str | None
    shift_px: tuple[float, float]
    worst_px: NotNegative


class ShotRecord(StrictModel):
    """One shot.

    Attributes:
        name: Which its blocks' names begin with.
        accepted: Whether it gave pairs.
        verdict: Why, in words.
        notes: What was done that was not asked for, such as swapping the photographs.
        mapping: None, as all that follows, where the photographs could not be registered.
        region: Left, top, width and height of what both photographs show, LR px.
        lr_px: Width and height of the whole LR photograph.
        blocks: All of them.
    """

    name: str
    accepted: bool
    verdict: str
    notes: tuple[str, ...]
    wide: SourceRecord
    tele: SourceRecord
    mapping: MappingRecord | None = None
    photometry: PhotometryRecord | None = None
    residual: ResidualRecord | None = None
    region: tuple[int, int, int, int] | None = None
    lr_px: tuple[int, int] | None = None
    blocks: tuple[BlockRecord, ...] = ()

    @property
    def kept(self) -> int:
        """How many pairs it gave."""
        return sum(block.name is not None for block in self.blocks)


class PairsRecord(StrictModel):
    """``pairs.json``.

    Attributes:
        scale: HR pixels per LR pixel.
        block_px: Side of a block, LR px.
        keep_colour: HR keeps the tele photograph's colours.
        opencv_version: Of the library that registered.
        shots: All that were looked at.
    """

    artifact: Literal["pairs"] = "pairs"
    format_version: Literal[1] = FORMAT_VERSION
    tool_version: str
    opencv_version: str
    scale: Annotated[int, Field(ge=1)]
    block_px: Annotated[int, Field(ge=16)]
    keep_colour: bool
    shots: tuple[ShotRecord, ...]

    def describe(self) -> str:
        """``pairs made by adaptsr pair, x4, 312 pairs of 14 shots``."""
        used = [shot for shot in self.shots if shot.accepted]
        pairs = sum(shot.kept for shot in used)
        return (
            f"pairs made by adaptsr pair, x{self.scale}, {pairs:,} pair{'' if pairs == 1 else 's'} of {len(used):,} "
            f"shot{'' if len(used) == 1 else 's'}"
        )
