"""Photographs of a small synthetic shot as files, with the EXIF that a camera would write."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from registration.shots import Look, Shot, make_shot, packaged_photos

LOOKS = Look(noise=1.0), Look(gains=(0.92, 1.0, 1.08), vignette=0.1, blur=0.5, noise=1.0)


@cache
def shot(seed: int = 1) -> Shot:
    """A shot of zoom 2.1."""
    return make_shot(packaged_photos(), seed, zoom=2.1, tele_px=(640, 480), most_wide_px=480, looks=LOOKS)


def save(
    path: Path,
    image: np.ndarray,
    *,
    taken: str | None = None,
    focal_35_mm: int | None = None,
    focal_mm: float | None = None,
    orientation: int = 1,
) -> Path:
    """Writes a photograph; with an orientation its pixels are stored so that it is displayed as given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {1: image, 3: image[::-1, ::-1], 6: np.rot90(image), 8: np.rot90(image, -1)}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x0110] = "Test 1"
    below = exif.get_ifd(0x8769)
    if taken is not None:
        below[0x9003] = taken
        below[0x9291] = "250"
    if focal_35_mm is not None:
        below[0xA405] = focal_35_mm
    if focal_mm is not None:
        below[0x920A] = IFDRational(focal_mm)
    if path.suffix == ".tif":
        exif[0x8769] = below  # else Pillow leaves the folder out of a TIFF
    picture = Image.fromarray(np.ascontiguousarray(stored))
    options = {"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}
    picture.save(path, exif=exif, **options)
    return path


def save_shot(folder: Path, seed: int = 1, **given: object) -> tuple[Path, Path]:
    """WIDE and TELE as PNG."""
    made = shot(seed)
    return save(folder / "wide.png", made.wide, **given), save(folder / "tele.png", made.tele, **given)
