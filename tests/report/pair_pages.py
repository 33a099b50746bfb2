"""A small ``pairs.html`` whose LR is plain red and whose HR is plain blue."""

from __future__ import annotations

import numpy as np

from adaptsr_cli.artifacts.pairs import (
    BlockRecord,
    CorrectionRecord,
    LensRecord,
    MappingRecord,
    PairsRecord,
    PhotometryRecord,
    ResidualRecord,
    ShotRecord,
    SourceRecord,
)
from adaptsr_cli.io.images import encode_jpeg

PLAIN = {"LR": (200, 30, 30), "HR": (30, 30, 200)}


def make_shot_record(name: str = "wide_tele", *, accepted: bool = True, file: str = "wide.jpg") -> ShotRecord:
    source = SourceRecord(
        file=file,
        sha256="0" * 64,
        width_px=640,
        height_px=480,
        bits=8,
        focal_mm=4.25,
        focal_35_mm=26.0,
        taken="2026-05-01T12:00:00",
        camera="Test 1",
        rendering=None,
    )
    lens = LensRecord(k1=0.01, k2=0.0, x=0.0, y=0.0)
    blocks = tuple(
        BlockRecord(
            name=f"{name}_b{n:03d}" if accepted and n != 1 else None,
            left=160 + 48 * n,
            top=120,
            reason="parallax" if n == 1 else None,
            shift_px=(1.2, 0.1) if n == 1 else (0.03, -0.02),
            worst_px=1.3 if n == 1 else 0.1,
        )
        for n in range(3)
    )
    return ShotRecord(
        name=name,
        accepted=accepted,
        verdict="2 of 3 blocks kept" if accepted else "the tele photo is out of focus at the right",
        notes=("HR is the tele photograph enlarged by 2.3 %",),
        wide=source,
        tele=source.model_copy(update={"file": "tele.jpg", "focal_35_mm": 52.0}),
        mapping=MappingRecord(
            zoom=2.0,
            zoom_by_exif=2.0,
            rotation_deg=0.3,
            reduction=1.0,
            homography=(2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0),
            wide=lens,
            tele=lens,
            correction=CorrectionRecord(
                degree=0, held_out_before_px=0.05, held_out_after_px=0.05, centre=None, radius_px=None, coefficients=()
            ),
            matches=900,
            agreeing=800,
        ),
        photometry=PhotometryRecord(
            applied=True,
            model="gain and offset",
            terms=((0, 0, 0), (1, 0, 0)),
            coefficients=((2.0, 240.0), (1.0, 250.0), (0.0, 260.0)),
            range_levels=((10.0, 240.0),) * 3,
            gains=(0.94, 0.98, 1.02),
            offsets=(2.0, 1.0, 0.0),
            before_levels=6.0,
            held_out_levels=0.8,
        ),
        residual=ResidualRecord(
            before_px=(0.06, 0.2), after_px=(0.06, 0.2), kept_px=(0.05, 0.1), calibration=1.4, detail=0.3
        ),
        region=(160, 120, 320, 240),
        lr_px=(640, 480),
        blocks=blocks,
    )


def make_record(*shots: ShotRecord) -> PairsRecord:
    return PairsRecord(
        tool_version="0",
        opencv_version="5",
        scale=2,
        block_px=48,
        keep_colour=False,
        shots=shots or (make_shot_record(),),
    )


def make_previews(*names: str) -> dict[str, dict[str, bytes]]:
    def plain(colour: tuple[int, int, int], width: int, height: int) -> bytes:
        return encode_jpeg(np.full((height, width, 3), colour, np.uint8), 95)

    pictures = {
        "wide": plain((120, 130, 140), 320, 240),
        "tele": plain((120, 130, 140), 320, 240),
        "map": plain((60, 60, 60), 160, 120),
        "lr0": plain(PLAIN["LR"], 240, 240),
        "hr0": plain(PLAIN["HR"], 240, 240),
    }
    return dict.fromkeys(names or ("wide_tele",), pictures)
