"""Degradation of photographs to their LR side by blur, resampling, noise and JPEG.

The steps and their order are those of Real-ESRGAN (Wang et al. 2021, Fig. 2), of a simple camera, and of a camera as
its photographs show it. The arithmetic is done in float32 on a device of choice. Every random number, whole noise
fields too, is drawn on the CPU, so all devices give the same picture but for rounding.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from adaptsr_cli.arrays import AnyArray, Uint8Array
from adaptsr_cli.artifacts.degradation import (
    CameraGrain,
    CameraTransfer,
    Degradation,
    Filter,
    FinalSinc,
    Jpeg,
    KernelBlur,
    LensBlur,
    RandomNoise,
    RandomResize,
    SensorNoise,
    Step,
    ToLr,
)
from adaptsr_cli.artifacts.transfer import CameraNoise, TransferFunction
from adaptsr_cli.imaging.kernels import Kernel, draw_kernel, shaped_kernel, sinc_kernel
from adaptsr_cli.io.images import decode_rgb, encode_jpeg, resize

PHOTONS_AT_WHITE: Final = 256
"""Photons counted in a white pixel by the Poisson noise of scale 1.

Real-ESRGAN takes the number of grey levels in the crop, rounded up to a power of two: nearly always 256. A fixed number
spares flat crops a noise that no camera has, and makes the noise independent of where a crop ends.
"""

# How the uniform numbers are cut into cells, most of which lie within one step of the Poisson distribution.
_CELLS: Final = 4096
_MAX_PHOTONS: Final = 400  # nine standard deviations above a white pixel's 256
_LUMA: Final = (0.2989, 0.587, 0.114)  # as in torchvision's and so Real-ESRGAN's conversion to grey

_CPU: Final = torch.device("cpu")


def degrade(
    hr: Uint8Array, scale: int, degradation: Degradation, rng: np.random.Generator, *, device: torch.device = _CPU
) -> Uint8Array:
    """Degrade a photograph to its LR side. May be called from several threads, each with its own `rng`.

    Args:
        hr: (H, W, 3) uint8, both sides a multiple of `scale`.
        scale: HR pixels per LR pixel.
        degradation: What happens to the picture.
        rng: Decides every random choice; the same state gives the same LR.
        device: Where the arithmetic is done. Another device gives a picture that differs by rounding: by one level at
            most, except where JPEG multiplies that.

    Returns:
        (H/scale, W/scale, 3) uint8.
    """
    lr_size = hr.shape[0] // scale, hr.shape[1] // scale
    image = _to_tensor(hr, device)
    for step in degradation.steps:
        image = _apply_step(image, step, lr_size, scale, rng)
    return _to_image(image)


def _apply_step(image: Tensor, step: Step, lr_size: tuple[int, int], scale: int, rng: np.random.Generator) -> Tensor:
    """Apply one step to (3, H, W) float32; the result of noise and JPEG lies in [0, 1]."""
    match step:
        case LensBlur():
            return _blur_lens(image, step, image.shape[1] / lr_size[0], rng)
        case KernelBlur():
            blurred = rng.random() < step.share
            return blur(image, draw_kernel(step, scale, rng)) if blurred else image
        case CameraTransfer():
            function = step.functions[int(rng.integers(len(step.functions)))]
            stretch = image.shape[1] / lr_size[0] / step.scale
            return image if function.is_identity else blur(image, _camera_kernel(function.stretched(stretch)))
        case RandomResize():
            size = step.base * _draw_size(step, rng)
            method = _draw_filter(step.filters, rng)
            return _interpolate(image, (max(1, round(lr_size[0] * size)), max(1, round(lr_size[1] * size))), method)
        case RandomNoise():
            return _add_random_noise(image, step, rng)
        case SensorNoise():
            return _add_sensor_noise(image, step, rng)
        case CameraGrain():
            return _add_camera_noise(image, step.noise, rng)
        case Jpeg():
            quality, stored = round(step.quality.draw(rng)), rng.random() < step.share
            return _store_jpeg(image, quality) if stored else image
        case ToLr():
            reduced = resize(_to_array(image), lr_size[1], lr_size[0], _draw_filter(step.filters, rng))
            return torch.from_numpy(reduced).permute(2, 0, 1).to(image.device)  # (3, h, w)
        case FinalSinc():
            return _finish(image, step, lr_size, rng)


def _finish(image: Tensor, step: FinalSinc, lr_size: tuple[int, int], rng: np.random.Generator) -> Tensor:
    method, quality = _draw_filter(step.filters, rng), round(step.jpeg_quality.draw(rng))
    filtered, jpeg_last = rng.random() < step.sinc_share, rng.random() < step.jpeg_last
    kernel = sinc_kernel(step.size_px.draw(rng), step.sinc_cutoff.draw(rng))
    if not jpeg_last:
        image = _store_jpeg(image, quality)
    image = _interpolate(image, lr_size, method)
    if filtered:
        image = blur(image, kernel)
    return _store_jpeg(image, quality) if jpeg_last else image


def blur(image: Tensor, kernel: Kernel) -> Tensor:
    """Filter a picture by a point-symmetric kernel; the border pixels are repeated outwards.

    By Fourier transform: on one core that takes 2 ms for 320 x 320 px whatever the kernel, where a direct convolution
    takes 2 to 17 ms.

    Args:
        image: (3, H, W) float32.
        kernel: (k, k), k odd.

    Returns:
        (3, H, W) float32.
    """
    height, width = image.shape[1:]
    radius = kernel.shape[0] // 2
    padded = functional.pad(image[None], (radius,) * 4, mode="replicate")[0]
    size = _fast_length(height + 2 * radius), _fast_length(width + 2 * radius)
    weight = torch.from_numpy(kernel.astype(np.float32)).to(image.device)
    spectrum = torch.fft.rfft2(padded, s=size) * torch.fft.rfft2(weight, s=size)  # (3, H', W'/2 + 1)
    # Left out: where the kernel reached over the padding, or round to the other side.
    full: Tensor = torch.fft.irfft2(spectrum, s=size)
    return full[:, 2 * radius : 2 * radius + height, 2 * radius : 2 * radius + width]


@cache
def _fast_length(length: int) -> int:
    """Return the next length that has no prime factor above 5, for which the Fourier transform is fast."""
    # Half a second to import, which only runs that blur pay for.
    from scipy.fft import next_fast_len

    return int(next_fast_len(length, real=True))


def _blur_lens(image: Tensor, step: LensBlur, px_per_lr_px: float, rng: np.random.Generator) -> Tensor:
    long_px, roundness = step.sigma_lr_px.draw(rng) * px_per_lr_px, step.roundness.draw(rng)
    angle = float(rng.uniform(0, np.pi))
    if long_px == 0:
        return image
    size_px = 2 * max(1, math.ceil(3 * long_px)) + 1
    return blur(image, shaped_kernel(size_px, long_px, long_px * roundness, angle))


def _draw_size(step: RandomResize, rng: np.random.Generator) -> float:
    choice = rng.random()
    if choice < step.up:
        return float(rng.uniform(1, step.size.high))
    return float(rng.uniform(step.size.low, 1)) if choice < step.up + step.down else 1.0


def _draw_filter(filters: tuple[Filter, ...], rng: np.random.Generator) -> Filter:
    return filters[int(rng.integers(len(filters)))]


def _interpolate(image: Tensor, size: tuple[int, int], method: Filter) -> Tensor:
    """To (3, h, w) without antialiasing; bicubic with a = -0.75, as torch and so Real-ESRGAN have it."""
    if size == tuple(image.shape[1:]):
        return image
    return functional.interpolate(image[None], size=size, mode=method)[0]


def _add_random_noise(image: Tensor, step: RandomNoise, rng: np.random.Generator) -> Tensor:
    gaussian, grey = rng.random() < step.gaussian_share, rng.random() < step.grey_share
    sigma, factor = step.gaussian_levels.draw(rng) / 255, step.poisson_scale.draw(rng)
    if gaussian:
        noise = _draw_normal(image, grey, rng) * sigma
    else:
        noise = poisson_noise(_to_grey(image) if grey else image, rng) * factor
    return (image + noise).clamp_(0, 1)


def poisson_noise(image: Tensor, rng: np.random.Generator) -> Tensor:
    """What counting photons adds to a picture, `PHOTONS_AT_WHITE` of them in a white pixel.

    By inversion of the distribution function, one uniform number a pixel: a rejection method would take more or fewer
    random numbers where the picture differs by rounding, and all pixels after it would come out otherwise.

    Args:
        image: (C, H, W) float32; what lies outside of [0, 1] is clipped.
        rng: Decides the counts.

    Returns:
        (C, H, W) float32: counted over expected brightness; its variance is brightness / `PHOTONS_AT_WHITE`.
    """
    guess, edges, firsts = _poisson_tables(image.device)
    level = (image.clamp(0, 1) * 255).round_().long().flatten()  # (C H W)
    uniform = torch.from_numpy(rng.random(level.numel(), dtype=np.float32)).to(image.device)
    count = guess[level * _CELLS + (uniform * _CELLS).long()].long()
    unsure = torch.nonzero(count < 0)[:, 0]
    # In the table the levels lie one after another, each raised by its number, so that one search serves all.
    raised = level[unsure] + uniform[unsure].double()
    count[unsure] = torch.searchsorted(edges, raised, right=True) - firsts[level[unsure]]
    return (count.float() / PHOTONS_AT_WHITE - level.float() / 255).reshape(image.shape)


@cache
def _poisson_tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The Poisson distributions of the 256 grey levels, computed on the CPU so that they are the same everywhere.

    Returns:
        guess: (256 * `_CELLS`,) int16, the count where all uniform numbers of a cell give the same, else -1.
        edges: (256 * `_MAX_PHOTONS`,) float64, level + P(count <= n), ascending.
        firsts: (256,) int64, where each level begins in `edges`.
    """
    expected = torch.arange(256, dtype=torch.float64)[:, None] / 255 * PHOTONS_AT_WHITE
    counts = torch.arange(_MAX_PHOTONS, dtype=torch.float64)
    levels = torch.arange(256, dtype=torch.float64)[:, None]
    at_most = torch.special.gammaincc(counts + 1, expected.expand(-1, _MAX_PHOTONS))  # (256, most)
    at_most[0] = 1  # a black pixel counts nothing
    bounds = torch.linspace(0, 1, _CELLS + 1, dtype=torch.float64).expand(256, -1).contiguous()
    at_bound = torch.searchsorted(at_most, bounds, right=True)  # (256, _CELLS + 1)
    low, high = at_bound[:, :-1], torch.searchsorted(at_most, bounds[:, 1:].contiguous(), right=False)
    guess = torch.where(low == high, low, torch.full_like(low, -1)).to(torch.int16)
    edges, firsts = (levels + at_most).flatten(), torch.arange(256) * _MAX_PHOTONS
    return guess.flatten().to(device), edges.to(device), firsts.to(device)


def _add_sensor_noise(image: Tensor, step: SensorNoise, rng: np.random.Generator) -> Tensor:
    shot, read = step.shot.draw(rng), step.read_levels.draw(rng) / 255
    grey = rng.random() < step.grey_share
    if shot == 0 and read == 0:
        return image
    brightness = image.mean(dim=0, keepdim=True) if grey else image
    deviation = (shot * brightness.clamp(0, 1) + read**2).sqrt_()
    return image + deviation * _draw_normal(image, grey, rng)


@lru_cache(maxsize=256)
def _camera_kernel(function: TransferFunction) -> Kernel:
    from adaptsr_cli.imaging.transfer_function import kernel_of  # for scipy's sake, as in `_fast_length`

    return kernel_of(function)


def _add_camera_noise(image: Tensor, noise: CameraNoise, rng: np.random.Generator) -> Tensor:
    from adaptsr_cli.imaging.camera_noise import noise_field  # for scipy's sake, as in `_fast_length`

    if noise.is_none:
        return image
    channels, height, width = image.shape
    field = torch.from_numpy(noise_field(noise, (height, width, channels), rng)).permute(2, 0, 1)  # (3, H, W)
    variance = noise.read_variance + noise.shot_variance * 255 * image.clamp(0, 1)
    if noise.texture_variance:
        variance = variance + noise.texture_variance * 255 * _contrast(image)
    return image + variance.sqrt_() / 255 * field.to(image.device)


def _contrast(image: Tensor) -> Tensor:
    """As `camera_noise.contrast_of`, of (3, H, W)."""
    from adaptsr_cli.imaging.camera_noise import CONTRAST_SIDE_PX  # for scipy's sake, as in `_fast_length`

    # The difference of two squares: in float32 rounding alone would be a contrast of 0.1 grey levels.
    around = functional.pad(image[None].double(), (CONTRAST_SIDE_PX // 2,) * 4, mode="replicate")
    mean, square = (functional.avg_pool2d(part, CONTRAST_SIDE_PX, stride=1)[0] for part in (around, around.square()))
    return (square - mean.square()).clamp_min_(0).sqrt_().float()


def _draw_normal(image: Tensor, grey: bool, rng: np.random.Generator) -> Tensor:
    channels = 1 if grey else image.shape[0]
    field = rng.standard_normal((channels, *image.shape[1:]), dtype=np.float32)
    return torch.from_numpy(field).to(image.device)


def _to_grey(image: Tensor) -> Tensor:
    red, green, blue = (weight * plane for weight, plane in zip(_LUMA, image, strict=True))
    grey: Tensor = red + green + blue
    return grey[None]


def _store_jpeg(image: Tensor, quality: int) -> Tensor:
    return _to_tensor(decode_rgb(encode_jpeg(_to_image(image), quality)), image.device)


def _to_tensor(image: Uint8Array, device: torch.device) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32 in [0, 1]."""
    # A copy, since torch warns of arrays that may not be written to, such as those of a cache.
    return torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32)).to(device) / 255


def _to_array(image: Tensor) -> AnyArray:
    """(3, H, W) on any device to (H, W, 3) float32."""
    return image.permute(1, 2, 0).cpu().numpy()


def _to_image(image: Tensor) -> Uint8Array:
    """(3, H, W) float32 to (H, W, 3) uint8, clipped and rounded."""
    rounded = (image.clamp(0, 1) * 255).round_().to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(1, 2, 0).cpu().numpy())
