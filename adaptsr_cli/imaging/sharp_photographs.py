"""The sharp photographs that a camera is compared with, and a simulation of that camera taking them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from adaptsr_cli.artifacts.transfer import CameraNoise, TransferFunction
from adaptsr_cli.errors import DataError
from adaptsr_cli.imaging import edges
from adaptsr_cli.imaging.bootstrap import EDGES, Testimony, hear, summarise
from adaptsr_cli.imaging.camera_noise import DetailNoise, FileTrace, add_noise, brightness_of, trace_of
from adaptsr_cli.imaging.spectra import WINDOW_PX
from adaptsr_cli.imaging.transfer_function import apply_transfer
from adaptsr_cli.io.images import decode_rgb, encode_jpeg, resize

Image = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64

# Rounding to 8 bits is noise of this variance.
_ROUNDING: Final = 1 / 12
# Enough to know how far a simulated camera's noise is measured off.
_TRACED: Final = 12
_FEWEST: Final = 8
# Two cameras far apart, by which it is measured how far the profile of an edge follows the transfer function.
_PROBES: Final = (
    TransferFunction(blur_px=2.0),
    TransferFunction(blur_px=0.8, sharpening=0.8, radius_px=3.0),
)
_LEAST_FOLLOWING = 0.1


@dataclass(frozen=True)
class SharpPhotographs:
    """Sharp photographs and what they show after the plain reduction.

    Attributes:
        photographs: (H, W, 3) uint8 each, sides multiples of `scale`.
        brightness: (H, W) float32 each, of the same.
        scale: HR pixels per LR pixel.
        power: (M, BANDS) power of each band after the plain reduction.
        response: (F,) log response of the sharpest edges, likewise; NaN where there are none.
        following: (F,) by how much of a change of log m(f) the response of the edges changes: less than 1, since the
            profiles are cut off on either side, and since other edges become the sharpest ones.
    """

    photographs: tuple[Image, ...]
    brightness: tuple[Floats, ...]
    scale: int
    power: Floats
    response: Floats
    following: Floats


@dataclass(frozen=True)
class SimulatedCamera:
    """A camera as it would take the sharp photographs.

    Attributes:
        transfer: Its transfer function.
        noise: What it adds on the LR grid.
        qualities: JPEG qualities of its files, used in turn; None among them for files that are none.
    """

    transfer: TransferFunction
    noise: CameraNoise
    qualities: tuple[int | None, ...]


def study_sharp(photographs: Sequence[Image], scale: int) -> SharpPhotographs:
    """Measure sharp photographs once, for any number of cameras that are compared with them.

    Args:
        photographs: (H, W, 3) uint8 each; those too small for a window are left out.
        scale: HR pixels per LR pixel.

    Raises:
        DataError: Fewer than eight are large enough.
    """
    usable = [
        photo[: photo.shape[0] // scale * scale, : photo.shape[1] // scale * scale]
        for photo in photographs
        if min(photo.shape[:2]) >= WINDOW_PX * scale
    ]
    if len(usable) < _FEWEST:
        raise DataError(
            f"{len(usable)} of {len(photographs)} sharp photographs are {WINDOW_PX * scale} px or more each way; "
            f"the estimate of a camera takes {_FEWEST}",
            "add larger photographs",
        )
    brightness = tuple(brightness_of(photo) for photo in usable)
    heard = [hear(reduce_to_lr(picture, scale), 0.0) for picture in brightness]
    plain = summarise(heard)
    return SharpPhotographs(
        photographs=tuple(usable),
        brightness=brightness,
        scale=scale,
        power=np.exp([testimony.log_power for testimony in heard]),
        response=plain[EDGES],
        following=_following(brightness, scale, plain[EDGES]),
    )


def _following(brightness: Sequence[Floats], scale: int, plain: Floats) -> Floats:
    some = brightness[:: max(1, len(brightness) // 40)]
    base = summarise([hear(reduce_to_lr(picture, scale), 0.0) for picture in some])[EDGES]
    if np.isnan(base).any() or np.isnan(plain).any():
        return np.ones(len(edges.FREQUENCIES))
    changed, asked = [], []
    for probe in _PROBES:
        seen = summarise([hear(reduce_to_lr(apply_transfer(probe, picture), scale), 0.0) for picture in some])[EDGES]
        changed.append(seen - base)
        asked.append(np.log(probe.at(edges.FREQUENCIES / scale)))
    if np.isnan(changed).any():
        return np.ones(len(edges.FREQUENCIES))
    found: Floats = (np.array(changed) * asked).sum(axis=0) / np.square(asked).sum(axis=0)
    return np.clip(found, _LEAST_FOLLOWING, 1.0)


def reduce_to_lr(image: Floats, scale: int) -> Floats:
    """The plain antialiased bicubic reduction of (H, W) or (H, W, C) float32; nothing is rounded or clipped."""
    planes = image[..., None] if image.ndim == 2 else image
    reduced = resize(planes, image.shape[1] // scale, image.shape[0] // scale, "bicubic")
    return reduced[..., 0] if image.ndim == 2 else reduced


def simulate(
    sharp: SharpPhotographs,
    camera: SimulatedCamera,
    luma_noise_levels: float,
    rng: np.random.Generator,
    *,
    step: int = 1,
    detail: DetailNoise | None = None,
) -> list[Testimony]:
    """What the camera's LR photographs of the sharp scenes show; brightness only, which is all that is asked.

    Args:
        sharp: The scenes.
        camera: The camera.
        luma_noise_levels: Standard deviation of the noise of brightness at middle grey.
        rng: Draws the noise.
        step: Only every so many photographs are taken, but eight at least.
        detail: Noise of brightness beside detail; None for none.
    """
    step = max(1, min(step, len(sharp.brightness) // _FEWEST))
    noise = camera.noise.scaled(luma_noise_levels / camera.noise.levels) if camera.noise.levels else camera.noise
    heard = []
    taken = [
        reduce_to_lr(apply_transfer(camera.transfer, picture), sharp.scale)[..., None]
        for picture in sharp.brightness[::step]
    ]
    beside_detail = detail.in_photographs(taken) if detail else None
    for index, lr in enumerate(taken):
        noisy = add_noise(noise, lr, rng)
        if beside_detail:
            noisy += add_noise(beside_detail, lr, rng) - lr
        stored = _store(np.repeat(noisy, 3, axis=2), camera.qualities[index % len(camera.qualities)])
        heard.append(hear(stored[..., 0].astype(np.float32), camera.noise.levels))
    return heard


def simulate_traces(sharp: SharpPhotographs, camera: SimulatedCamera, rng: np.random.Generator) -> list[FileTrace]:
    """What the camera's LR photographs of some of the scenes show of noise, measured as that of real ones is."""
    step = max(1, len(sharp.photographs) // _TRACED)
    found = []
    for index, photo in enumerate(sharp.photographs[::step]):
        lr = reduce_to_lr(apply_transfer(camera.transfer, photo), sharp.scale)
        quality = camera.qualities[index % len(camera.qualities)]
        stored = _store(add_noise(camera.noise, lr, rng), quality)
        found.append(trace_of(stored, file_quality=quality, look_for_jpeg=False))
    return found


def _store(image: Floats, quality: int | None) -> Image:
    """Clips, rounds, and goes through a JPEG file where there is a quality."""
    rounded = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return rounded if quality is None else decode_rgb(encode_jpeg(rounded, quality))


def photograph(hr: Image, scale: int, camera: SimulatedCamera, rng: np.random.Generator) -> Image:
    """The LR photograph that the camera takes of a sharp one.

    Args:
        hr: (H, W, 3) uint8, sides multiples of `scale`.
        scale: HR pixels per LR pixel.
        camera: The camera; one of its JPEG qualities is drawn.
        rng: Draws noise and quality.

    Returns:
        (H / scale, W / scale, 3) uint8.
    """
    lr = reduce_to_lr(apply_transfer(camera.transfer, hr), scale)
    quality = camera.qualities[int(rng.integers(len(camera.qualities)))]
    return _store(add_noise(camera.noise, lr, rng), quality)
