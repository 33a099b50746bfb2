"""A camera measured from its photographs beside sharp ones of other scenes, and the degradation to train with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from adaptsr_cli.arrays import Uint8Array
from adaptsr_cli.artifacts.degradation import CameraGrain, CameraTransfer, Degradation, Jpeg, Span, Step, ToLr
from adaptsr_cli.artifacts.transfer import PairEstimate, TransferEstimate
from adaptsr_cli.imaging.estimate_jpeg_quality import quality_of_table
from adaptsr_cli.imaging.from_photographs import estimate_from_photographs
from adaptsr_cli.imaging.sharp_photographs import study_sharp
from adaptsr_cli.imaging.training_cameras import cautious_draws, with_unexplained
from adaptsr_cli.io.images import jpeg_table, read_rgb
from adaptsr_cli.progress import Progress, Task

# More of the camera's photographs tell no more: the scenes of two collections are never quite the same.
_MOST_OF_CAMERA: Final = 32
_MOST_SHARP: Final = 100
# Windows of large photographs, which bound memory and time.
_CAMERA_SIDE_PX: Final = 2048
_SHARP_SIDE_PX: Final = 1024
_JPEG_GRID_PX: Final = 16
# Of the function that pairs show.
_PAIR_SHARES: Final = (0.5, 0.75)

NAME: Final = "camera"
"""Of the degradation."""


def measure_camera(
    photographs: Sequence[Path], sharp: Sequence[Path], scale: int, progress: Progress, *, seed: int = 0
) -> TransferEstimate:
    """Estimate a camera from its LR photographs; see `estimate_from_photographs`.

    Args:
        photographs: As the camera wrote them: not reduced in size.
        sharp: Those that the network is trained on.
        scale: HR pixels per LR pixel.
        progress: Gets a bar.
        seed: Chooses photographs and windows in them, and seeds the estimate.

    Raises:
        DataError: Too few photographs are large enough, on either side.
        ImageError: A photograph cannot be read.
    """
    rng = np.random.default_rng(seed % (1 << 64))  # NumPy takes no negative seeds
    ours, theirs = _some(photographs, _MOST_OF_CAMERA, rng), _some(sharp, _MOST_SHARP, rng)
    with progress.task("measuring the camera", len(ours) + len(theirs), unit="photo") as task:
        lr = list(_read(ours, _CAMERA_SIDE_PX, rng, task))
        hr = list(_read(theirs, _SHARP_SIDE_PX, rng, task))
    tables = [jpeg_table(path) for path in ours]
    return estimate_from_photographs(
        lr,
        study_sharp(hr, scale),
        file_qualities=[None if table is None else quality_of_table(table) for table in tables],
        seed=seed % (1 << 64),
    )


def degradation_of_camera(estimate: TransferEstimate, scale: int) -> Degradation:
    """The degradation to train with: the functions of `cautious_draws`, noise and what is unexplained, and JPEG.

    Args:
        estimate: Of the camera.
        scale: That it was estimated for.
    """
    steps: list[Step] = [
        CameraTransfer(functions=cautious_draws(estimate), scale=scale),
        ToLr(),
        CameraGrain(noise=with_unexplained(estimate.noise)),
    ]
    if estimate.jpeg_qualities:
        low, high = (float(value) for value in np.quantile(estimate.jpeg_qualities, (0.1, 0.9)))
        share = len(estimate.jpeg_qualities) / estimate.photographs
        steps.append(Jpeg(quality=Span(low=low, high=high), share=share))
    return Degradation(name=NAME, steps=tuple(steps))


def degradation_of_pairs(estimate: PairEstimate, scale: int) -> Degradation:
    """The degradation to train with: half and three quarters of the pairs' function, and the noise of flat places.

    The whole function goes only with what is left over in detail too; beside one pair that was better on two of three
    cameras, and clearly worse on the one where the function is hardest to undo.

    Args:
        estimate: Of the camera.
        scale: That it was estimated for.
    """
    functions = tuple(estimate.transfer.between(share) for share in _PAIR_SHARES)
    noise = estimate.noise.model_copy(update={"texture_variance": 0.0})
    return Degradation(
        name=NAME, steps=(CameraTransfer(functions=functions, scale=scale), ToLr(), CameraGrain(noise=noise))
    )


def _some(paths: Sequence[Path], most: int, rng: np.random.Generator) -> list[Path]:
    return [paths[index] for index in np.sort(rng.permutation(len(paths))[:most])]


def _read(paths: Sequence[Path], side_px: int, rng: np.random.Generator, task: Task) -> Iterator[Uint8Array]:
    """The photographs, or a window of each large one on the grid of JPEG's blocks."""
    for path in paths:
        rgb = read_rgb(path)
        top, left = (
            int(rng.integers(max(0, length - side_px) // _JPEG_GRID_PX + 1)) * _JPEG_GRID_PX for length in rgb.shape[:2]
        )
        yield np.ascontiguousarray(rgb[top : top + side_px, left : left + side_px])
        task.advance()
