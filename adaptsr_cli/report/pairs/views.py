"""A shot's record as what the page draws: polygons, arrows, curves and words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from adaptsr_cli.artifacts.pairs import BlockRecord, LensRecord, ShotRecord
from adaptsr_cli.registration.blocks import REASONS
from adaptsr_cli.registration.geometry import Lens, Region, SmoothField
from adaptsr_cli.registration.geometry import Mapping as Geometry
from adaptsr_cli.registration.photometry import Photometry
from adaptsr_cli.registration.planes import CELL_PX

ARROW_TIMES: Final = 400
"""Arrows are so many times longer than the residuals they stand for, but no longer than a block."""
_CURVE_POINTS: Final = 24


@dataclass(frozen=True)
class BlockView:
    """One block on both photographs.

    Attributes:
        kind: ``kept``, ``spare`` (good, but its shot is refused) or ``dropped``.
        title: What is said where the mouse rests.
        wide: Corners in the LR photograph, as SVG writes points.
        tele: Corners in the tele photograph.
        arrow: x1, y1, x2, y2 of the residual in the region; None where it is too short to be seen.
    """

    kind: str
    title: str
    wide: str
    tele: str
    arrow: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class ChannelView:
    """One channel's photometric fit; grey levels.

    Attributes:
        name: ``R``, ``G`` or ``B``.
        gain: In the middle.
        offset: What black becomes.
        field: Darkest and brightest kept block against the middle, per cent.
        curve: Tele to HR in the middle, as SVG writes points, in a square of 255.
    """

    name: str
    gain: float
    offset: float
    field: tuple[float, float]
    curve: str


@dataclass(frozen=True)
class ShotView:
    """One shot.

    Attributes:
        shot: Its record.
        pictures: Name -> JPEG.
        blocks: All of them.
        reasons: What is wrong with dropped blocks, and how many are.
        channels: The photometric fit.
        details: Numbers of the enlarged details.
    """

    shot: ShotRecord
    pictures: Mapping[str, bytes]
    blocks: tuple[BlockView, ...]
    reasons: tuple[tuple[str, int], ...]
    channels: tuple[ChannelView, ...]
    details: tuple[int, ...]


def view_shot(shot: ShotRecord, pictures: Mapping[str, bytes]) -> ShotView:
    """What the page draws of a shot."""
    side = _block_side(shot)
    geometry = _geometry(shot)
    blocks = tuple(_view_block(shot, block, side, geometry) for block in shot.blocks) if geometry else ()
    counts = Counter(block.reason for block in shot.blocks if block.reason is not None)
    words: Mapping[str, str] = {str(reason): text for reason, text in REASONS.items()}
    return ShotView(
        shot=shot,
        pictures=pictures,
        blocks=blocks,
        reasons=tuple((f"{reason}: {words.get(reason, '')}", count) for reason, count in counts.most_common()),
        channels=_view_channels(shot, side) if shot.photometry else (),
        details=tuple(n for n in range(8) if f"lr{n}" in pictures and f"hr{n}" in pictures),
    )


def _block_side(shot: ShotRecord) -> int:
    """The blocks lie on a grid: their side is the least distance of two."""
    lefts, tops = sorted({b.left for b in shot.blocks}), sorted({b.top for b in shot.blocks})
    steps = [*np.diff(lefts), *np.diff(tops)]
    return int(min(steps)) if steps else 96


def _geometry(shot: ShotRecord) -> Geometry | None:
    if shot.mapping is None or shot.lr_px is None:
        return None
    found = shot.mapping
    correction = found.correction
    rest = None
    if correction.centre is not None and correction.radius_px is not None:
        rest = SmoothField(correction.degree, correction.centre, correction.radius_px, correction.coefficients)

    def lens(record: LensRecord, width_px: int, height_px: int) -> Lens:
        return Lens(width_px, height_px, record.k1, record.k2, record.x, record.y)

    tele = lens(found.tele, shot.tele.width_px, shot.tele.height_px)
    return Geometry(found.homography, lens(found.wide, *shot.lr_px), tele, rest)


def _view_block(shot: ShotRecord, block: BlockRecord, side: int, geometry: Geometry | None) -> BlockView:
    assert geometry is not None
    low = np.array([block.left, block.top], float)
    corners = low + side * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    mapped = geometry.map_points(corners - 0.5) + 0.5
    kind = "dropped" if block.reason is not None else "kept" if shot.accepted else "spare"
    length = float(np.hypot(*block.shift_px))
    title = block.reason or f"{block.name or 'good'}: {length:.2f} px off"
    centre = low + side / 2
    end = centre + np.array(block.shift_px) * min(ARROW_TIMES, side / max(length, 1e-6))
    arrow = None if length < 0.01 else (float(centre[0]), float(centre[1]), float(end[0]), float(end[1]))
    return BlockView(kind, title, _points(corners), _points(mapped), arrow)


def _points(corners: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def _view_channels(shot: ShotRecord, side: int) -> tuple[ChannelView, ...]:
    fit = shot.photometry
    assert fit is not None
    assert shot.region is not None
    left, top, width, height = shot.region
    # Whole cells of it, over which the fit's coordinates run.
    region = Region(left, top, width // CELL_PX * CELL_PX, height // CELL_PX * CELL_PX)
    whole = Photometry(
        fit.model,
        fit.terms,
        fit.coefficients,
        fit.range_levels,
        region,
        left_levels=(0.0, 0.0, 0.0),
        held_out_levels=fit.held_out_levels,
        before_levels=fit.before_levels,
    )
    x, y = np.array([left + (region.width - 1) / 2]), np.array([top + (region.height - 1) / 2])
    at = np.linspace(0, 255, _CURVE_POINTS)
    # (points, 1, 3): every row is one grey level, all in the middle.
    levels = np.repeat(at[:, None, None], 3, axis=2).astype(np.float32)
    curves = whole.apply(levels, x, np.repeat(y, len(at)))[:, 0]
    low, high = np.array(fit.range_levels).T
    grey = ((low + high) / 2).astype(np.float32)[None, None]
    middle = whole.apply(grey, x, y)[0, 0]
    kept = [block for block in shot.blocks if block.reason is None]
    places = [
        whole.apply(grey, np.array([block.left + side / 2]), np.array([block.top + side / 2]))[0, 0] for block in kept
    ]
    field = 100 * (np.array(places or [middle]) / np.maximum(middle, 1) - 1)
    return tuple(
        ChannelView(
            name,
            fit.gains[channel],
            fit.offsets[channel],
            (float(field[:, channel].min()), float(field[:, channel].max())),
            " ".join(f"{x:.1f},{255 - y:.1f}" for x, y in zip(at, np.clip(curves[:, channel], 0, 255), strict=True)),
        )
        for channel, name in enumerate("RGB")
    )
