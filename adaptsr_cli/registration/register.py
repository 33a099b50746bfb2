"""Two photographs of one scene, registered: from arrays to a mapping, a photometric fit and judged blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from adaptsr_cli.arrays import AnyArray
from adaptsr_cli.registration.blocks import Block, choose_blocks, find_faults
from adaptsr_cli.registration.correction import Correction, fit_correction
from adaptsr_cli.registration.features import Start, find_start
from adaptsr_cli.registration.geometry import Mapping, Region, find_region, look_up, rescale_wide
from adaptsr_cli.registration.new_detail import PER_PX, NewDetail, measure_new_detail
from adaptsr_cli.registration.opencv import blur, sample
from adaptsr_cli.registration.photometry import Photometry, fit_photometry
from adaptsr_cli.registration.planes import CELL_PX, levels, luma, sum_cells
from adaptsr_cli.registration.refine import Spread, refine_from_features, refine_on_pixels, spread_of
from adaptsr_cli.registration.resample import Renderer, detail_ratio
from adaptsr_cli.registration.residual import (
    BLACK_LEVEL,
    PREFILTER_PX,
    WHITE_LEVEL,
    Prepared,
    Residual,
    measure_residual,
    prepare,
)
from adaptsr_cli.registration.verdict import LEAST_ZOOM, Refused, Verdict, judge

Resize = Callable[[AnyArray, int, int], AnyArray]
"""``resize(image, width_px, height_px)`` of (h, w, 3) float32 without aliasing."""

STEPS: Final = 7
"""How often `register` says that a step is done."""
MOST_ENLARGED: Final = 0.05
"""Share by which HR may be finer than the tele photograph before the LR side is reduced instead."""
_MOST_DETAIL_BLOCKS: Final = 16
_MOST_NEW_DETAIL_PX: Final = 96
_LEAST_ROUNDING: Final = 1.1


@dataclass(frozen=True)
class Registration:
    """A registered shot.

    Attributes:
        lr: (h, w, 3) uint8 or uint16: the LR photograph, the wide one itself where `reduction` is 1.
        tele: (H, W, 3) uint8 or uint16.
        swapped: The photographs were given the other way round.
        zoom: Tele pixels per pixel of the wide photograph as it was taken.
        reduction: Wide pixels per LR pixel.
        scale: HR pixels per LR pixel.
        matches: How many features were matched, and how many of them agreed.
        mapping: From LR to tele.
        region: Of LR: what the tele photograph shows.
        before: What homography and lenses leave, LR px.
        correction: What was found of a smooth rest.
        residual: What is left in the end.
        photometry: None where there was too little to fit it to.
        blocks: All, kept and dropped.
        verdict: Whether it can be used.
    """

    lr: AnyArray
    tele: AnyArray
    swapped: bool
    zoom: float
    reduction: float
    scale: int
    matches: tuple[int, int]
    mapping: Mapping
    region: Region
    before: Spread
    correction: Correction
    residual: Residual
    photometry: Photometry | None
    blocks: tuple[Block, ...]
    verdict: Verdict

    def render_hr(self, region: Region, *, keep_colour: bool = False) -> AnyArray:
        """HR of a region of LR, in the tele photograph's type: (scale * height, scale * width, 3)."""
        high = Renderer(self.tele, self.mapping, self.scale).render(region)
        if self.photometry is not None and not keep_colour:
            x = region.left + (np.arange(high.shape[1]) + 0.5) / self.scale - 0.5
            y = region.top + (np.arange(high.shape[0]) + 0.5) / self.scale - 0.5
            high = self.photometry.apply(high, x, y)
        if self.tele.dtype == np.uint16:
            return np.clip(high * 257 + 0.5, 0, 65535).astype(np.uint16)
        return np.clip(high + 0.5, 0, 255).astype(np.uint8)


def register(
    wide: AnyArray,
    tele: AnyArray,
    scale: int,
    *,
    zoom_hint: float | None,
    block_px: int,
    resize: Resize,
    on_step: Callable[[str], None] = lambda name: None,
) -> Registration:
    """Register a tele photograph to a wide one.

    Args:
        wide: (h, w, 3) uint8 or uint16, sRGB as it is displayed.
        tele: The same; the other one where they turn out to be in the wrong order.
        scale: HR pixels per LR pixel that are wanted.
        zoom_hint: Tele pixels per wide pixel by the focal lengths; None where they are not known.
        block_px: Side of a block in LR px, a multiple of `CELL_PX`.
        resize: For an LR side that must be reduced.
        on_step: Told what is done next.

    Raises:
        Refused: They cannot be registered; says why.
    """
    on_step("features")
    start, agreeing = find_start(luma(wide), luma(tele), zoom_hint)
    if start is None:
        raise Refused(
            f"the two photographs do not show the same scene, or hardly (only {agreeing} details match); check that "
            "they belong together, and that both are sharp"
        )
    swapped = start.zoom < 1
    if swapped:
        start, wide, tele = _turn_round(start), tele, wide
    if start.zoom < LEAST_ZOOM:
        raise Refused(_same_focal_length(start, wide, tele))
    on_step("lenses")
    wide_px, tele_px = (wide.shape[1], wide.shape[0]), (tele.shape[1], tele.shape[0])
    mapping = refine_from_features(start, wide_px, tele_px)
    zoom = mapping.zoom
    reduction = find_reduction(zoom, scale)
    lr = wide if reduction == 1 else _reduce(wide, reduction, resize)
    mapping = rescale_wide(mapping, lr.shape[1], lr.shape[0])
    prepared = prepare(luma(lr), luma(tele), mapping.zoom)
    on_step("pixels")
    mapping, residual = refine_on_pixels(prepared, mapping)
    region = find_region(mapping)
    before = spread_of(residual.lengths_px)
    on_step("local residual")
    correction = fit_correction(residual, region)
    if correction.field is not None:
        mapping = mapping.with_rest(correction.field)
        residual = measure_residual(prepared, mapping, region)
    if min(residual.valid.shape) < 2 or not residual.trusted.any():
        raise Refused("both photographs show the same, but with too little detail to register them exactly")
    on_step("photometry")
    photometry, expected = _compare_colours(lr, tele, prepared, mapping, residual)
    on_step("blocks")
    blocks = choose_blocks(residual, find_faults(residual, expected), block_px)
    spread = spread_of(np.hypot(*residual.shifts_px[residual.trusted & _is_kept(residual, blocks)].T))
    on_step("verdict")
    renderer = Renderer(tele, mapping, scale)
    chosen = _choose_evenly(blocks)
    detail = _measure_detail(renderer, chosen)
    new = _measure_new_detail(wide, renderer, reduction, chosen)
    # Of the lens alone: the tele photograph was blurred besides, to be looked up at LR's pixels.
    softness = -float(np.median(residual.blur[residual.trusted])) - PREFILTER_PX**2 / 2
    verdict = judge(blocks, spread.median_px, spread.p90_px, detail, new, softness, region)
    matches = len(start.agreeing), int(start.agreeing.sum())
    return Registration(
        lr, tele, swapped, zoom, reduction, scale, matches, mapping, region, before, correction, residual,
        photometry, blocks, verdict,
    )  # fmt: skip


def find_reduction(zoom: float, scale: int) -> float:
    """By how much the wide photograph is reduced to become LR: 1 where the zoom is as large as the scale.

    A whole number where that costs no more than a tenth of LR's size.
    """
    needed = scale * (1 - MOST_ENLARGED) / zoom
    if needed <= 1:
        return 1.0
    whole = float(np.ceil(needed))
    exact = scale / zoom
    return whole if whole / exact <= _LEAST_ROUNDING else float(exact)


def _reduce(wide: AnyArray, reduction: float, resize: Resize) -> AnyArray:
    """The wide photograph at LR's size, in its own type."""
    width, height = (max(1, round(side / reduction)) for side in (wide.shape[1], wide.shape[0]))
    # A whole factor must be exact, or LR's pixels would drift against it: what does not fill a pixel is cut off.
    if reduction == round(reduction):
        width, height = wide.shape[1] // int(reduction), wide.shape[0] // int(reduction)
        wide = wide[: height * int(reduction), : width * int(reduction)]
    small = resize(wide.astype(np.float32), width, height)
    most = np.iinfo(wide.dtype).max
    return np.clip(small + 0.5, 0, most).astype(wide.dtype)


def _turn_round(start: Start) -> Start:
    inverse = np.linalg.inv(start.matrix)
    return replace(start, matrix=inverse / inverse[2, 2], wide=start.tele, tele=start.wide, zoom=1 / start.zoom)


def _same_focal_length(start: Start, wide: AnyArray, tele: AnyArray) -> str:
    if wide.shape == tele.shape and wide.dtype == tele.dtype and np.array_equal(wide, tele):
        return "both files are the same photograph; give one at each of two focal lengths"
    return (
        f"both photographs were taken at nearly the same focal length (zoom {start.zoom:.2f}, at least {LEAST_ZOOM} is "
        "needed): the second one shows no more detail"
    )


def _compare_colours(
    lr: AnyArray, tele: AnyArray, prepared: Prepared, mapping: Mapping, residual: Residual
) -> tuple[Photometry | None, AnyArray | None]:
    """The photometric fit, and what LR's brightness should be in the mean of each cell."""
    region = residual.region
    low = levels(lr[region.slices])
    places = look_up(mapping, region)
    high = levels(sample(blur(tele, PREFILTER_PX * mapping.zoom), places, "linear"))
    unclipped = np.minimum(low.min(axis=2), high.min(axis=2)) > BLACK_LEVEL
    unclipped &= np.maximum(low.max(axis=2), high.max(axis=2)) < WHITE_LEVEL
    faults = find_faults(residual, None)
    good = ~(faults.parallax | faults.movement) & (residual.seen > 0.999)
    usable = unclipped & np.kron(good, np.ones((CELL_PX, CELL_PX), bool))
    photometry = fit_photometry(low, high, usable, region)
    if photometry is None:
        return None, None
    x, y = region.left + np.arange(region.width), region.top + np.arange(region.height)
    # As in the residual's own means, clipped pixels have no say.
    weights = ((prepared.lr[region.slices] > BLACK_LEVEL) & (prepared.lr[region.slices] < WHITE_LEVEL)).astype(
        np.float32
    )
    count = np.maximum(sum_cells(weights), 1)
    expected = sum_cells(luma(photometry.apply(high, x, y)) * weights) / count
    seen = sum_cells(prepared.lr[region.slices] * weights) / count
    return photometry, expected + residual.means[..., 0] - seen


def _is_kept(residual: Residual, blocks: tuple[Block, ...]) -> AnyArray:
    """Windows that lie in a kept block."""
    kept = np.zeros(residual.trusted.shape, bool)
    for block in blocks:
        if block.reason is None:
            row = (block.region.top - residual.region.top) // CELL_PX
            column = (block.region.left - residual.region.left) // CELL_PX
            side = block.region.width // CELL_PX - 1
            kept[row : row + side, column : column + side] = True
    return kept


def _choose_evenly(blocks: tuple[Block, ...]) -> list[Block]:
    """At most `_MOST_DETAIL_BLOCKS` of the kept blocks, taken evenly from all."""
    kept = [block for block in blocks if block.reason is None]
    return kept[:: max(1, len(kept) // _MOST_DETAIL_BLOCKS)][:_MOST_DETAIL_BLOCKS]


def _measure_detail(renderer: Renderer, chosen: list[Block]) -> float:
    """Median of `detail_ratio`; 0 without blocks."""
    if not chosen:
        return 0.0
    return float(np.median([detail_ratio(luma(renderer.render(block.region)), renderer.scale) for block in chosen]))


def _measure_new_detail(wide: AnyArray, renderer: Renderer, reduction: float, chosen: list[Block]) -> NewDetail:
    """Medians of `measure_new_detail` about the middles of blocks; zeros without blocks.

    On the grid of the wide photograph as it was taken: beyond a reduced one's, a digital zoom has detail of its own.
    """
    found = []
    for block in chosen:
        region = block.region
        side = min(_MOST_NEW_DETAIL_PX, int(region.width * reduction))
        left = int((region.left + region.width / 2) * reduction - side / 2)
        top = int((region.top + region.height / 2) * reduction - side / 2)
        fine = (np.arange(side * PER_PX) + 0.5) / PER_PX
        in_wide = np.stack(np.meshgrid(left + fine, top + fine), axis=-1)
        places = renderer.mapping.map_points((in_wide / reduction - 0.5).reshape(-1, 2)).reshape(in_wide.shape)
        high = renderer.look(places.astype(np.float32), renderer.mapping.zoom / (reduction * PER_PX))
        found.append(measure_new_detail(luma(wide[top : top + side, left : left + side]), luma(high)))
    if not found:
        return NewDetail(0.0, 0.0)
    return NewDetail(float(np.median([new.share for new in found])), float(np.median([new.levels for new in found])))
