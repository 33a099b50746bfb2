"""The scenes that `without_pairs.py` trains and scores on: real pairs, and pairs of simulated cameras."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

ROOT: Final = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from adaptsr_cli.artifacts.transfer import IDENTITY, CameraNoise, TransferFunction  # noqa: E402
from adaptsr_cli.imaging.sharp_photographs import SimulatedCamera, photograph  # noqa: E402
from adaptsr_cli.io.images import list_images, read_rgb, resize_bicubic, write_rgb  # noqa: E402

CAMERAS: Final = {"iphone": ("iphone", ""), "cam1": ("ntire2019", "cam1"), "cam2": ("ntire2019", "cam2")}
# Their functions are known, and what else real cameras leave is added; no setting was chosen by them.
_LEFT_OVER: Final = CameraNoise(read_variance=2.0, texture_variance=1.6, correlation_px=0.6, shared=0.5)
SIMULATED: Final = {
    "no blur": SimulatedCamera(IDENTITY, _LEFT_OVER, (None,)),
    "blur 0.8": SimulatedCamera(TransferFunction(blur_px=0.8), _LEFT_OVER, (None,)),
    "blur 2.5, JPEG 75": SimulatedCamera(TransferFunction(blur_px=2.5), _LEFT_OVER, (75,)),
    "sharpens": SimulatedCamera(TransferFunction(blur_px=1.6, sharpening=1.0, radius_px=3.0), _LEFT_OVER, (90,)),
}
SCENES, FEW = 18, 3

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
