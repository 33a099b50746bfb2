"""The relative transfer function of a camera: what its LR photographs keep of a cleanly reduced HR photograph.

    m(f) = exp(-2 pi^2 s^2 f^2) (1 + a (1 - exp(-2 pi^2 r^2 f^2)))

A Gaussian blur of standard deviation s, times an unsharp mask of strength a and radius r. Frequencies are in cycles per
HR pixel and lengths in HR pixels. It is *relative*: the function of the LR photograph over that of the HR photograph
after the plain bicubic reduction, so whatever blur both have in common is not in it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Any, Final, Self

import numpy as np
from pydantic import Field, model_validator
from scipy import fft

from adaptsr_cli.artifacts.base import StrictModel

Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64

NotNegative = Annotated[float, Field(ge=0)]

_TWO_PI_SQUARED: Final = 2 * math.pi**2
# Beyond so many standard deviations a Gaussian in float32 adds nothing that could be seen in 8 bits.
_REACH: Final = 4.0


class TransferFunction(StrictModel):
    """Blur times sharpening; lengths in HR pixels.

    Attributes:
        blur_px: Standard deviation of the blur along its longer axis.
        short_blur_px: Along its shorter axis; None where the blur is round.
        angle: Of the longer axis from the x axis towards y, in radians.
        sharpening: Strength a of the unsharp mask; 0 for none.
        radius_px: Standard deviation of the Gaussian that the unsharp mask subtracts.
    """

    blur_px: NotNegative
    short_blur_px: NotNegative | None = None
    angle: float = 0.0
    sharpening: NotNegative = 0.0
    radius_px: Annotated[float, Field(gt=0)] = 2.5

    @model_validator(mode="after")
    def _check_axes(self) -> Self:
        if self.short_blur_px is not None and self.short_blur_px > self.blur_px:
            raise ValueError(f"the shorter axis of the blur ({self.short_blur_px}) exceeds the longer ({self.blur_px})")
        return self

    def at(self, frequency: Floats) -> Floats:
        """The function over the radius of frequency, averaged over the axes where the blur is not round.

        Args:
            frequency: Cycles per HR pixel, any shape.

        Returns:
            The gain at each, 1 at 0.
        """
        return gain_of(self.mean_blur_px, self.sharpening, self.radius_px, frequency)

    def at_2d(self, fy: Floats, fx: Floats) -> Floats:
        """The function over the plane of frequencies.

        Args:
            fy: Cycles per HR pixel down the picture.
            fx: Along it; both broadcast against each other.
        """
        short_px = self.blur_px if self.short_blur_px is None else self.short_blur_px
        along = fx * math.cos(self.angle) + fy * math.sin(self.angle)
        across = fy * math.cos(self.angle) - fx * math.sin(self.angle)
        blur: Floats = np.exp(-_TWO_PI_SQUARED * ((self.blur_px * along) ** 2 + (short_px * across) ** 2))
        return blur * _sharpening(self.sharpening, self.radius_px, np.square(fy) + np.square(fx))

    @property
    def mean_blur_px(self) -> float:
        """Of both axes, as the root of the mean square: the round blur of the same mean curvature at f = 0."""
        if self.short_blur_px is None:
            return self.blur_px
        return math.sqrt((self.blur_px**2 + self.short_blur_px**2) / 2)

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.blur_px == 0 and self.sharpening == 0

    def apply(self, image: Floats) -> Floats:
        """Filters a picture, its border continued outwards. No value is clipped: sharpening overshoots.

        Args:
            image: (H, W) or (H, W, C) on the HR grid, any range.

        Returns:
            The same shape, float32.
        """
        planes = image.astype(np.float32)
        if self.is_identity:
            return planes
        margin = math.ceil(_REACH * math.hypot(self.blur_px, self.radius_px if self.sharpening else 0)) + 1
        widths = ((margin, margin), (margin, margin), (0, 0))[: planes.ndim]
        padded = np.pad(planes, widths, mode="edge")
        shape = [fft.next_fast_len(length, real=True) for length in padded.shape[:2]]
        gain = _gain_on_grid(self, shape[0], shape[1])
        spectrum = fft.rfft2(padded, s=shape, axes=(0, 1))
        spectrum *= gain if planes.ndim == 2 else gain[..., None]
        filtered = fft.irfft2(spectrum, s=shape, axes=(0, 1))
        rows, columns = (slice(margin, margin + length) for length in planes.shape[:2])
        return np.ascontiguousarray(filtered[rows, columns], dtype=np.float32)

    def kernel(self) -> Floats:
        """The same as a kernel for `degrade.blur`: (k, k) float64 of sum 1, k odd, some weights negative."""
        reach = math.hypot(self.blur_px, self.radius_px if self.sharpening else 0)
        size_px = 2 * max(1, math.ceil(_REACH * reach)) + 1
        # Transformed on a grid twice as wide and cut out, so that the tails do not come in from the other side.
        length = fft.next_fast_len(2 * size_px)
        f = np.fft.fftfreq(length)
        whole = np.fft.fftshift(np.fft.ifft2(self.at_2d(f[:, None], f[None])).real)
        first = length // 2 - size_px // 2
        kernel: Floats = whole[first : first + size_px, first : first + size_px]
        kernel /= kernel.sum()
        return kernel

    def between(self, share: float) -> TransferFunction:
        """A camera that does only a share of this: s^2 and a times `share`; 0 is the plain reduction."""
        if not 0 <= share <= 1:
            raise ValueError(f"a share of {share} is not within 0 and 1")
        narrow = math.sqrt(share)
        short_px = None if self.short_blur_px is None else self.short_blur_px * narrow
        return TransferFunction(
            blur_px=self.blur_px * narrow,
            short_blur_px=short_px,
            angle=self.angle,
            sharpening=self.sharpening * share,
            radius_px=self.radius_px,
        )

    def describe(self) -> str:
        """In words: ``blurs by 1.6 px and sharpens by 20 % (radius 2.5 px)``."""
        blur = f"blurs by {self.mean_blur_px:.1f} px"
        if round(self.sharpening, 2) == 0:
            return f"{blur} and does not sharpen"
        return f"{blur} and sharpens by {100 * self.sharpening:.0f} % (radius {self.radius_px:.1f} px)"


IDENTITY: Final = TransferFunction(blur_px=0.0)


@lru_cache(maxsize=4)
def _gain_on_grid(function: TransferFunction, height: int, width: int) -> Floats:
    """Over the half plane of a real transform: as dear as the transform itself, and the same for a whole folder."""
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    gain: Floats = function.at_2d(fy, fx).astype(np.float32)
    gain.setflags(write=False)
    return gain


def gain_of(blur_px: Any, sharpening: Any, radius_px: Any, frequency: Floats) -> Floats:
    """m(f) of a round blur, for arrays of parameters that broadcast against the frequencies."""
    squared = np.square(frequency)
    blur: Floats = np.exp(-_TWO_PI_SQUARED * np.square(blur_px) * squared)
    return blur * _sharpening(sharpening, radius_px, squared)


def _sharpening(strength: Any, radius_px: Any, squared_frequency: Floats) -> Floats:
    factor: Floats = 1 + strength * -np.expm1(-_TWO_PI_SQUARED * np.square(radius_px) * squared_frequency)
    return factor
