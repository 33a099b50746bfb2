"""The scenes that `without_pairs.py` trains and scores on: real pairs, and pairs of simulated cameras.

A camera without pairs can only be measured against the sharp photographs at hand, while pairs measure it against their
own HR side. Where that is sharper or softer than those photographs, the two differ by `hr_side_of`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import optimize

ROOT: Final = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from adaptsr_cli.artifacts.transfer import (  # noqa: E402
    IDENTITY,
    Band,
    CameraNoise,
    TransferEstimate,
    TransferFunction,
)
from adaptsr_cli.imaging.from_photographs import estimate_from_photographs  # noqa: E402
from adaptsr_cli.imaging.sharp_photographs import SharpPhotographs, SimulatedCamera, photograph  # noqa: E402
from adaptsr_cli.io.images import list_images, read_rgb, resize_bicubic, write_rgb  # noqa: E402
from benchmarks.transfer_estimate import draw_camera  # noqa: E402

CAMERAS: Final = {"iphone": ("iphone", ""), "cam1": ("ntire2019", "cam1"), "cam2": ("ntire2019", "cam2")}
# Their functions are known, and what else real cameras leave is added; no setting was chosen by them.
_LEFT_OVER: Final = CameraNoise(read_variance=2.0, texture_variance=1.6, correlation_px=0.6, shared=0.5)
CHOSEN: Final = {
    "no blur": SimulatedCamera(IDENTITY, _LEFT_OVER, (None,)),
    "blur 0.8": SimulatedCamera(TransferFunction(blur_px=0.8), _LEFT_OVER, (None,)),
    "blur 2.5, JPEG 75": SimulatedCamera(TransferFunction(blur_px=2.5), _LEFT_OVER, (75,)),
    "sharpens": SimulatedCamera(TransferFunction(blur_px=1.6, sharpening=1.0, radius_px=3.0), _LEFT_OVER, (90,)),
}
# Drawn at random over the whole range that the estimator is asked for, after the guard's rule was settled.
_DRAWN_SEED: Final = 2026
DRAWN: Final = {f"drawn {n}": draw_camera(np.random.default_rng((_DRAWN_SEED, n))) for n in range(1, 13)}
SIMULATED: Final = {**CHOSEN, **DRAWN}
SCENES, FEW = 18, 3
_EXACT: Final = SimulatedCamera(IDENTITY, CameraNoise(read_variance=0.0), (None,))

Image = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Scene:
    """One pair of a camera."""

    name: str
    hr: Image
    lr: Image


def scenes_of(data: Path, camera: str, scale: int) -> Iterator[Scene]:
    """The pairs of a camera; the LR side, which lies on the HR grid, reduced by the antialiased bicubic filter."""
    if camera in SIMULATED:
        for number, path in enumerate(list_images(data / "test_sr" / "BSD100" / "HR")[:SCENES]):
            hr = to_multiple(read_rgb(path), scale)
            yield Scene(path.stem, hr, photograph(hr, scale, SIMULATED[camera], np.random.default_rng(number)))
        return
    folder, prefix = CAMERAS[camera]
    for path in list_images(data / "real_pairs" / folder / "HR"):
        if path.name.startswith(prefix):
            hr = to_multiple(read_rgb(path), scale)
            same = to_multiple(read_rgb(path.parents[1] / "LR_samesize" / path.name), scale)
            yield Scene(path.stem, hr, resize_bicubic(same, same.shape[1] // scale, same.shape[0] // scale))


def hr_side_of(scenes: Sequence[Scene], sharp: SharpPhotographs) -> TransferEstimate:
    """How sharp the pairs' HR side is beside the sharp photographs, measured as a camera is: 1 where they are alike."""
    rng = np.random.default_rng(0)
    return estimate_from_photographs([photograph(scene.hr, sharp.scale, _EXACT, rng) for scene in scenes], sharp)


def product_of(one: TransferFunction, other: TransferFunction, scale: int) -> TransferFunction:
    """The blur and sharpening that come nearest to both functions in turn, by least squares over frequency."""
    grid = np.array(Band.grid(scale))
    wanted = one.at(grid) * other.at(grid)

    def function(values: Any) -> TransferFunction:
        blur_px, sharpening, radius_px = (float(value) for value in values)
        return TransferFunction(blur_px=blur_px, sharpening=sharpening, radius_px=radius_px)

    start = (float(np.hypot(one.mean_blur_px, other.mean_blur_px)), one.sharpening + other.sharpening, one.radius_px)
    bounds = ((0.0, 0.0, 0.5), (8.0, 8.0, 12.0))
    found = optimize.least_squares(lambda values: function(values).at(grid) - wanted, start, bounds=bounds)
    return function(found.x)


def blocks_of(scene: Scene, scale: int, side_px: int = 60) -> Iterator[Scene]:
    """Blocks of a pair, `side_px` LR pixels wide, named as crops of one photograph."""
    for top in range(0, scene.lr.shape[0] - side_px + 1, side_px):
        for left in range(0, scene.lr.shape[1] - side_px + 1, side_px):
            y, x = top * scale, left * scale
            yield Scene(
                f"{scene.name}_x{x:04d}_y{y:04d}",
                scene.hr[y : y + side_px * scale, x : x + side_px * scale],
                scene.lr[top : top + side_px, left : left + side_px],
            )


def write_pairs(folder: Path, scenes: list[Scene]) -> None:
    """As ``hr/`` and ``lr/``."""
    for scene in scenes:
        for side, picture in (("hr", scene.hr), ("lr", scene.lr)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            write_rgb(folder / side / f"{scene.name}.png", picture)


def to_multiple(rgb: Image, scale: int) -> Image:
    """Cut to sides that are multiples of the scale."""
    return rgb[: rgb.shape[0] // scale * scale, : rgb.shape[1] // scale * scale]
