"""Photographs of the demo, which come with scikit-image, and the camera that is simulated for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Final

import numpy as np

from adaptsr_cli.arrays import Uint8Array
from adaptsr_cli.errors import AdaptsrError, DataError, OutputExistsError, UsageError
from adaptsr_cli.imaging.degradation_presets import DEGRADATIONS
from adaptsr_cli.imaging.degrade import degrade
from adaptsr_cli.io.images import decode_rgb, read_rgb, write_rgb

# Photographs only, no charts or microscopy, and none that scikit-image would fetch from the network.
_TRAIN: Final = (
    "motorcycle_left.png",
    "chelsea.png",
    "rocket.jpg",
    "camera.png",
    "coins.png",
    "brick.png",
    "gravel.png",
)
_TEST: Final = ("astronaut.png", "coffee.png")


def demo_photos() -> tuple[list[tuple[str, Uint8Array]], list[tuple[str, Uint8Array]]]:
    """The demo's photographs as (name, (H, W, 3) uint8), to train on and to test on; no photograph is in both.

    Raises:
        DataError: The installed scikit-image comes without one of them.
    """
    return [_read_photo(name) for name in _TRAIN], [_read_photo(name) for name in _TEST]


def write_demo_pairs(folder: str | Path, scale: int = 4, seed: int = 0, *, force: bool = False) -> None:
    """Write pairs of a simulated camera, made of photographs that ship with scikit-image, to try things on.

    The LR side is what the degradation ``demo`` makes of the photographs: one fixed camera of mild blur, sensor noise
    and JPEG. No photograph is in both sets.

    Args:
        folder: Gets ``train/lr``, ``train/hr``, ``test/lr`` and ``test/hr``, as PNG.
        scale: HR pixels per LR pixel.
        seed: Of the noise.
        force: Replace files that hold something else.

    Raises:
        UsageError: `scale` is not a whole number from 1 up.
        OutputExistsError: A file is there that holds something else.
        DataError: As `demo_photos`.
        AdaptsrError: The folder cannot be written.
    """
    if not isinstance(scale, int) or scale < 1:
        raise UsageError(f"`scale` is {scale!r}", "give a whole number from 1 up, such as the factor of a network")
    train, test = demo_photos()
    jobs = [("train", index, *photo) for index, photo in enumerate(train)]
    jobs += [("test", index, *photo) for index, photo in enumerate(test)]

    def make(job: tuple[str, int, str, Uint8Array]) -> dict[Path, Uint8Array]:
        split, index, name, photo = job
        rng = np.random.default_rng((seed % (1 << 64), split == "test", index))
        height, width = (length // scale * scale for length in photo.shape[:2])
        hr = np.ascontiguousarray(photo[:height, :width])
        lr = degrade(hr, scale, DEGRADATIONS["demo"], rng)
        return {Path(folder) / split / side / f"{name}.png": rgb for side, rgb in (("hr", hr), ("lr", lr))}

    with ThreadPoolExecutor() as pool:
        pictures = dict(item for made in pool.map(make, jobs) for item in made.items())
        missing = {path: rgb for path, rgb in pictures.items() if force or not path.exists()}
        strange = (path for path, rgb in pictures.items() if path not in missing and not _holds(path, rgb))
        if (path := next(strange, None)) is not None:
            raise OutputExistsError(f"{path} exists already", "replace it with `force`, or give another folder")
        list(pool.map(write_rgb, missing.keys(), missing.values()))


def _holds(path: Path, rgb: Uint8Array) -> bool:
    """Whether a file is this picture."""
    try:
        return np.array_equal(read_rgb(path), rgb)
    except AdaptsrError:
        return False


def _read_photo(file_name: str) -> tuple[str, Uint8Array]:
    # By file: skimage.data's own functions may reach for the network.
    place = files("skimage") / "data" / file_name
    try:
        data = place.read_bytes()
    except OSError as error:
        raise DataError(
            f"the installed scikit-image has no photograph {file_name}", "install scikit-image 0.24 or later"
        ) from error
    return file_name.partition(".")[0], decode_rgb(data)
