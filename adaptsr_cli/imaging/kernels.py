"""Blur kernels: Gaussian, generalised Gaussian, plateau-shaped and sinc, each of sum one."""

from __future__ import annotations

import math
from typing import Any, Final, Literal

import numpy as np
import torch

from adaptsr_cli.artifacts.degradation import KernelBlur, KernelShares, Span

Kernel = np.ndarray[Any, np.dtype[np.float64]]
Shape = Literal["gaussian", "generalized", "plateau"]

# From this size on the first kernels of Real-ESRGAN may have a lower cutoff.
_LARGE_SINC_PX: Final = 13
# Real-ESRGAN's lengths are in pixels of a x4 HR image.
_STATED_SCALE: Final = 4


def shaped_kernel(
    size_px: int, long_px: float, short_px: float, angle: float, shape: Shape = "gaussian", beta: float = 1.0
) -> Kernel:
    """A kernel that falls from its centre along two axes.

    With d the distance from the centre, each axis in units of its standard deviation: Gaussian exp(-d^2 / 2),
    generalised exp(-d^(2 beta) / 2), plateau 1 / (1 + d^(2 beta)) (Liu et al. 2020, as used by Real-ESRGAN).

    Args:
        size_px: Side, odd.
        long_px: Standard deviation along the axis that is turned by `angle`.
        short_px: Along the other.
        angle: In radians.
        shape: How it falls.
        beta: The exponent of the last two.

    Returns:
        (size_px, size_px) float64 of sum 1.
    """
    y, x = _grid(size_px)
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    # A width of zero is a kernel of one pixel, not a division by zero.
    squared: Kernel = (along / max(long_px, 1e-3)) ** 2 + (across / max(short_px, 1e-3)) ** 2
    kernel: Kernel
    if shape == "gaussian":
        kernel = np.exp(-0.5 * squared)
    elif shape == "generalized":
        kernel = np.exp(-0.5 * squared**beta)
    else:
        kernel = 1 / (squared**beta + 1)
    kernel /= kernel.sum()
    return kernel


def sinc_kernel(size_px: int, cutoff: float) -> Kernel:
    """The circular low-pass filter, cut off at its border: it makes the ringing of oversharpened pictures.

    Args:
        size_px: Side, odd.
        cutoff: In radians per pixel, in (0, pi].

    Returns:
        (size_px, size_px) float64 of sum 1; some of its weights are negative.
    """
    radius = np.hypot(*_grid(size_px))
    centre = size_px // 2
    radius[centre, centre] = 1  # any but zero: the limit is put in below
    # A copy: torch would otherwise share memory with an array that goes out of scope.
    kernel: Kernel = cutoff * torch.special.bessel_j1(torch.tensor(cutoff * radius)).numpy() / (2 * math.pi * radius)
    kernel[centre, centre] = cutoff**2 / (4 * math.pi)
    kernel /= kernel.sum()
    return kernel


def draw_kernel(step: KernelBlur, scale: int, rng: np.random.Generator) -> Kernel:
    """One kernel of a step.

    Where lengths are stated for x4, they are multiplied by scale / 4 and cutoffs divided by it, up to pi: so a camera
    does the same to the picture at every scale.
    """
    zoom = scale / _STATED_SCALE if step.lengths_at_x4 else 1.0
    stated_px = step.size_px.draw(rng)
    size_px = 2 * max(1, round(stated_px // 2 * zoom)) + 1 if stated_px > 1 else 1
    if rng.random() < step.sinc_share:
        cutoff = (step.sinc_cutoff if stated_px >= _LARGE_SINC_PX else step.sinc_cutoff_small).draw(rng)
        return sinc_kernel(size_px, min(math.pi, cutoff / zoom))
    names = tuple(KernelShares.model_fields)
    shares = np.array([getattr(step.shapes, name) for name in names])
    family, _, roundness = names[int(rng.choice(len(names), p=shares / shares.sum()))].rpartition("_")
    long_px = step.sigma_px.draw(rng) * zoom
    short_px, angle = long_px, 0.0
    if roundness == "aniso":
        short_px, angle = step.sigma_px.draw(rng) * zoom, float(rng.uniform(-math.pi, math.pi))
    if family == "generalized":
        return shaped_kernel(size_px, long_px, short_px, angle, "generalized", _draw_beta(step.generalized_beta, rng))
    if family == "plateau":
        return shaped_kernel(size_px, long_px, short_px, angle, "plateau", _draw_beta(step.plateau_beta, rng))
    return shaped_kernel(size_px, long_px, short_px, angle)


def _draw_beta(span: Span, rng: np.random.Generator) -> float:
    """Below and above 1 with equal probability: uniformly drawn, flat tops would be nearly all there is."""
    below = rng.random() < 0.5
    if below:
        return float(rng.uniform(min(span.low, 1), min(span.high, 1)))
    return float(rng.uniform(max(span.low, 1), max(span.high, 1)))


def _grid(size_px: int) -> tuple[Kernel, Kernel]:
    """The coordinates y and x of each pixel from the centre, in pixels."""
    steps = np.arange(size_px, dtype=np.float64) - size_px // 2
    y, x = np.meshgrid(steps, steps, indexing="ij")
    return y, x
