"""The kernel of a camera by a small GAN on its photographs alone, as a baseline of `without_pairs.py`.

After Bell-Kligler, Shocher and Irani (KernelGAN, NeurIPS 2019), written anew: a linear network halves crops of the
photographs so that a discriminator cannot tell them from crops of the same photographs. What it computes is one kernel
and, if details recur at all sizes, the camera's. Applied once at its own and once at twice its size it reduces by 4.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, pad

Image = np.ndarray[Any, np.dtype[np.uint8]]

ITERATIONS: Final = 3000
_SIDES: Final = (7, 5, 3, 1, 1, 1)
_KERNEL_PX: Final = sum(_SIDES) - len(_SIDES) + 1
_WIDTH: Final = 32
_CROP_PX: Final = 64
_RATE: Final = 2e-4
_LOWER_EVERY: Final = 750
_LOWER: Final = 0.1
_SUM, _BORDER, _SPARSE, _CENTRE, _BICUBIC = 0.5, 0.5, 5.0, 1.0, 5.0
"""Weights of what a kernel should be; the last one, of halving as the bicubic filter does, fades away once the network
does so, and the others but the sum's come in."""
_LIKE_BICUBIC, _FADING, _SETTLED = 0.002, 0.98, 5e-3


def estimate_kernel(photographs: list[Image], seed: int, iterations: int = ITERATIONS) -> np.ndarray:
    """The kernel by which the camera's photographs would be halved, (13, 13) float64, sum 1.

    Args:
        photographs: (H, W, 3) uint8, at least 64 px wide.
        seed: Of crops and weights.
        iterations: Steps of the two networks.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    halving = nn.ParameterList(_fresh(index, side) for index, side in enumerate(_SIDES))
    judge = _make_judge()
    optimizers = [torch.optim.Adam(net.parameters(), lr=_RATE, betas=(0.5, 0.999)) for net in (halving, judge)]
    wanted, bicubic_weight = _wishes(), _BICUBIC
    for iteration in range(iterations):
        if iteration and iteration % _LOWER_EVERY == 0:
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] *= _LOWER
        crop, real = (_draw(photographs, rng, px) for px in (_CROP_PX, (_CROP_PX - _KERNEL_PX) // 2 + 1))
        halved = _halve(crop, halving)
        kernel = _kernel_of(halving)
        bicubic = interpolate(crop, scale_factor=0.5, mode="bicubic", antialias=True)
        margin = (bicubic.shape[-1] - halved.shape[-1]) // 2
        like_bicubic = (halved - bicubic[..., margin:-margin, margin:-margin]).square().mean()
        found = judge(halved)
        loss = (1 - found).abs().mean() + bicubic_weight * like_bicubic + _SUM * (1 - kernel.sum()).abs()
        if bicubic_weight < _SETTLED:
            loss = loss + _regularise(kernel, wanted)
        optimizers[0].zero_grad()
        loss.backward()
        optimizers[0].step()
        if float(like_bicubic.detach()) < _LIKE_BICUBIC:
            bicubic_weight *= _FADING

        seen, made = judge(real), judge(halved.detach())
        optimizers[1].zero_grad()
        ((1 - seen).abs().mean() + made.abs().mean()).mul(0.5).backward()
        optimizers[1].step()
    kernel = _kernel_of(halving).detach().double().clamp_min(0)
    kernel = torch.where(kernel < 0.02 * kernel.max(), 0, kernel)
    return (kernel / kernel.sum()).numpy()


def reduce_by(kernel: np.ndarray, photograph: Image, scale: int) -> Image:
    """A photograph reduced as the camera would, if `kernel` halves as it does.

    Args:
        kernel: (13, 13) from `estimate_kernel`.
        photograph: (H, W, 3) uint8, sides multiples of `scale`.
        scale: 2 or 4.
    """
    if scale == 4:
        larger = np.zeros([2 * side - 1 for side in kernel.shape])
        larger[::2, ::2] = kernel
        kernel = _convolve(kernel, larger)
    margin = 4 * scale
    padded = np.pad(photograph.astype(np.float64), ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    fy, fx = np.fft.fftfreq(padded.shape[0])[:, None], np.fft.rfftfreq(padded.shape[1])[None]
    weights = kernel / kernel.sum()
    rows, columns = np.indices(kernel.shape)
    centre = [(weights * place).sum() for place in (rows, columns)]
    response = np.fft.rfft2(weights, s=padded.shape[:2])
    # The centre of the kernel goes to the middle of the `scale` pixels that one pixel takes the place of.
    response *= np.exp(2j * np.pi * (fy * (centre[0] + (scale - 1) / 2) + fx * (centre[1] + (scale - 1) / 2)))
    blurred = np.fft.irfft2(np.fft.rfft2(padded, axes=(0, 1)) * response[..., None], s=padded.shape[:2], axes=(0, 1))
    return np.clip(np.rint(blurred[margin:-margin:scale, margin:-margin:scale]), 0, 255).astype(np.uint8)


def _fresh(index: int, side: int) -> nn.Parameter:
    first, last = index == 0, index == len(_SIDES) - 1
    weight = torch.empty(1 if last else _WIDTH, 1 if first else _WIDTH, side, side)
    return nn.Parameter(nn.init.xavier_normal_(weight, 0.1))


def _halve(images: Tensor, halving: nn.ParameterList) -> Tensor:
    """(B, 1, H, W) to (B, 1, (H - 12) / 2, (W - 12) / 2)."""
    for index, weight in enumerate(halving):
        images = conv2d(images, weight, stride=2 if index == len(_SIDES) - 1 else 1)
    return images


def _kernel_of(halving: nn.ParameterList) -> Tensor:
    """What the layers compute together, (13, 13): the answer to a point, turned, since a layer correlates."""
    point = torch.zeros(1, 1, 2 * _KERNEL_PX - 1, 2 * _KERNEL_PX - 1)
    point[..., _KERNEL_PX - 1, _KERNEL_PX - 1] = 1
    for weight in halving:
        point = conv2d(point, weight)
    return point[0, 0]


def _make_judge() -> nn.Sequential:
    """Says of every 7 px neighbourhood whether it is of a photograph."""
    norm = nn.utils.parametrizations.spectral_norm
    layers: list[nn.Module] = [norm(nn.Conv2d(1, _WIDTH, 7))]
    for _ in range(5):
        layers += [norm(nn.Conv2d(_WIDTH, _WIDTH, 1)), nn.BatchNorm2d(_WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, norm(nn.Conv2d(_WIDTH, 1, 1)), nn.Sigmoid())


def _draw(photographs: list[Image], rng: np.random.Generator, side_px: int) -> Tensor:
    """The three colours of a crop, one beside another, (3, 1, S, S) in [0, 1]: the one of four with most detail."""
    crops = []
    for _ in range(4):
        photograph = photographs[int(rng.integers(len(photographs)))]
        top, left = (int(rng.integers(0, size - side_px + 1)) for size in photograph.shape[:2])
        crops.append(photograph[top : top + side_px, left : left + side_px].astype(np.float32) / 255)
    best = max(
        crops, key=lambda crop: float(np.abs(np.diff(crop, axis=0)).mean() + np.abs(np.diff(crop, axis=1)).mean())
    )
    return torch.from_numpy(np.ascontiguousarray(best.transpose(2, 0, 1)))[:, None]


def _wishes() -> tuple[Tensor, Tensor]:
    """Coordinates from the middle of the kernel, and what weight costs at every place: more towards the border."""
    places = torch.arange(_KERNEL_PX) - (_KERNEL_PX - 1) / 2
    distance = (places[:, None].square() + places[None].square()).sqrt()
    return places, 1 - torch.exp(-distance.square() / (2 * (_KERNEL_PX / 4) ** 2))


def _regularise(kernel: Tensor, wanted: tuple[Tensor, Tensor]) -> Tensor:
    """What a kernel is charged for: weight at its border, spread, and a centre off the middle."""
    places, cost = wanted
    off = torch.stack([(kernel.sum(axis) * places).sum() for axis in (1, 0)])
    return (
        _BORDER * (kernel * cost).abs().mean()
        + _SPARSE * (kernel.abs() + 1e-9).pow(0.2).mean()
        + _CENTRE * off.square().mean()
    )


def _convolve(kernel: np.ndarray, other: np.ndarray) -> np.ndarray:
    margin = [side - 1 for side in other.shape]
    image = pad(torch.from_numpy(kernel)[None, None], (margin[1], margin[1], margin[0], margin[0]))
    flipped = torch.from_numpy(np.ascontiguousarray(other[::-1, ::-1]))[None, None]
    return conv2d(image, flipped)[0, 0].numpy()
