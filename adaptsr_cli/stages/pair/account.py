"""A registration as it is put on record."""

from __future__ import annotations

from collections.abc import Mapping as NameMap
from collections.abc import Sequence

from adaptsr_cli.artifacts.pairs import (
    BlockRecord,
    CorrectionRecord,
    LensRecord,
    MappingRecord,
    PhotometryRecord,
    ResidualRecord,
    ShotRecord,
    SourceRecord,
)
from adaptsr_cli.registration.geometry import Lens
from adaptsr_cli.registration.refine import spread_of
from adaptsr_cli.registration.register import Registration


def describe_registration(
    found: Registration,
    shot: str,
    names: NameMap[int, str],
    notes: Sequence[str],
    wide: SourceRecord,
    tele: SourceRecord,
    zoom_by_exif: float | None,
    *,
    keep_colour: bool,
) -> ShotRecord:
    """What ``pairs.json`` says of a registered shot.

    Args:
        found: The registration.
        shot: Its name.
        names: Index of a block -> name of its files.
        notes: What was done that was not asked for.
        wide: The LR side's file.
        tele: The HR side's file.
        zoom_by_exif: By the focal lengths.
        keep_colour: HR's colours were left.
    """
    after = spread_of(found.residual.lengths_px)
    region, verdict = found.region, found.verdict
    return ShotRecord(
        name=shot,
        accepted=verdict.accepted,
        verdict=verdict.sentence,
        notes=tuple(notes),
        wide=wide,
        tele=tele,
        mapping=_describe_mapping(found, zoom_by_exif),
        photometry=_describe_photometry(found, applied=not keep_colour),
        residual=ResidualRecord(
            before_px=(found.before.median_px, found.before.p90_px),
            after_px=(after.median_px, after.p90_px),
            kept_px=(verdict.median_px, verdict.p90_px),
            calibration=found.residual.calibration,
            detail=verdict.detail,
        ),
        region=(region.left, region.top, region.width, region.height),
        lr_px=(found.lr.shape[1], found.lr.shape[0]),
        blocks=tuple(
            BlockRecord(
                name=names.get(index),
                left=block.region.left,
                top=block.region.top,
                reason=block.reason,
                shift_px=(round(block.shift_px[0], 4), round(block.shift_px[1], 4)),
                worst_px=round(block.worst_px, 4),
            )
            for index, block in enumerate(found.blocks)
        ),
    )


def _describe_mapping(found: Registration, zoom_by_exif: float | None) -> MappingRecord:
    mapping, correction = found.mapping, found.correction
    field = correction.field
    return MappingRecord(
        zoom=found.zoom,
        zoom_by_exif=zoom_by_exif,
        rotation_deg=mapping.rotation_deg,
        reduction=found.reduction,
        homography=mapping.homography,
        wide=_describe_lens(mapping.wide),
        tele=_describe_lens(mapping.tele),
        correction=CorrectionRecord(
            degree=correction.degree,
            held_out_before_px=correction.without_px,
            held_out_after_px=correction.with_px,
            centre=field.centre if field else None,
            radius_px=field.radius_px if field else None,
            coefficients=field.coefficients if field else (),
        ),
        matches=found.matches[0],
        agreeing=found.matches[1],
    )


def _describe_lens(lens: Lens) -> LensRecord:
    return LensRecord(k1=lens.k1, k2=lens.k2, x=lens.x, y=lens.y)


def _describe_photometry(found: Registration, *, applied: bool) -> PhotometryRecord | None:
    fit = found.photometry
    if fit is None:
        return None
    return PhotometryRecord(
        applied=applied,
        model=fit.model,
        terms=fit.terms,
        coefficients=fit.coefficients,
        range_levels=fit.range_levels,
        gains=fit.gains(),
        offsets=fit.offsets(),
        before_levels=fit.before_levels,
        held_out_levels=fit.held_out_levels,
    )
