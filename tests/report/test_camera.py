"""The figure of a camera is drawn whatever is known of it, and the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptsr_cli.artifacts.transfer import Band, CameraNoise, PairEstimate, TransferEstimate, TransferFunction
from adaptsr_cli.io.images import read_rgb
from adaptsr_cli.report.camera import draw_camera

DRAWS = tuple(TransferFunction(blur_px=blur, sharpening=blur / 2) for blur in (1.0, 1.5, 2.0))
BAND = Band.of(np.array([draw.at(Band.grid(4)) for draw in DRAWS]), 4)
ESTIMATE = TransferEstimate(
    transfer=DRAWS[1],
    draws=DRAWS,
    band=BAND,
    by_spectra=BAND,
    by_edges=BAND,
    noise=CameraNoise(read_variance=2.0, shot_variance=0.05),
    jpeg_qualities=(80, 92),
    photographs=5,
    misfit=10.0,
    freedom=15,
    trustworthy=True,
    reason="spectra and edges agree",
)
OF_PAIRS = PairEstimate(
    transfer=DRAWS[1],
    frequency=BAND.frequency,
    gain=BAND.median,
    error=(0.02,) * len(BAND.frequency),
    coherence=(0.9,) * len(BAND.frequency),
    noise=CameraNoise(read_variance=1.0),
    pairs=2,
    windows=80,
    dropped=3,
)


@pytest.mark.parametrize(
    "estimate",
    [
        ESTIMATE,
        ESTIMATE.model_copy(update={"by_spectra": None, "by_edges": None, "jpeg_qualities": (), "trustworthy": False}),
        ESTIMATE.model_copy(update={"noise": CameraNoise(read_variance=0.0)}),
        OF_PAIRS,
    ],
)
def test_a_camera_is_drawn_and_the_same_each_time(estimate: TransferEstimate | PairEstimate, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        draw_camera(tmp_path / name, estimate)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert read_rgb(tmp_path / "one.png").std() > 5


def test_the_spread_is_told_in_words() -> None:
    assert ESTIMATE.describe_spread() == "blur 1.1 to 1.9 px, sharpening 52 to 98 %"


def test_pairs_are_told_in_words() -> None:
    assert OF_PAIRS.describe_source() == "2 pairs (80 windows compared, 3 left out, for both sides differ)"
    assert OF_PAIRS.describe().startswith("this camera blurs by 1.5 px and sharpens by 75 %")
