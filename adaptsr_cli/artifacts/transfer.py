"""A camera as photographs or pairs show it: its relative transfer function, its noise, and how sure both are.

The *relative* transfer function is what its LR photographs keep of a cleanly reduced HR photograph:

    m(f) = exp(-2 pi^2 s^2 f^2) (1 + a (1 - exp(-2 pi^2 r^2 f^2)))

A Gaussian blur of standard deviation s, times an unsharp mask of strength a and radius r. Frequencies are in cycles per
HR pixel and lengths in HR pixels. It is the function of the LR photograph over that of the HR photograph after the
plain bicubic reduction, so whatever blur both have in common is not in it.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Self

import numpy as np
from pydantic import Field, model_validator

from adaptsr_cli.artifacts.base import NotNegative, StrictModel
from adaptsr_cli.units import plural

Floats = np.ndarray[Any, np.dtype[Any]]  # float32 or float64

MOST_CORRELATION_PX: Final = 1.5

STRONG_CONTRAST: Final = 10.0
"""Of a place with strong detail, in grey levels."""

_TWO_PI_SQUARED: Final = 2 * math.pi**2
_POINTS: Final = 23
# Of the band between its ends, 90 % are inside.
_ENDS: Final = (0.05, 0.5, 0.95)
# Of chi-squared per degree of freedom; known cameras have 0.2 to 0.9.
_MOST_MISFIT: Final = 2.0


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

    def stretched(self, factor: float) -> TransferFunction:
        """The same with all lengths times `factor`: for pictures with that many times the pixels along each side."""
        if factor == 1:
            return self
        lengths = {name: getattr(self, name) for name in ("blur_px", "short_blur_px", "radius_px")}
        return self.model_copy(update={name: length * factor for name, length in lengths.items() if length is not None})

    def describe(self) -> str:
        """In words: ``blurs by 1.6 px and sharpens by 20 % (radius 2.5 px)``."""
        blur = f"blurs by {self.mean_blur_px:.1f} px"
        if round(self.sharpening, 2) == 0:
            return f"{blur} and does not sharpen"
        return f"{blur} and sharpens by {100 * self.sharpening:.0f} % (radius {self.radius_px:.1f} px)"


IDENTITY: Final = TransferFunction(blur_px=0.0)


def gain_of(blur_px: Any, sharpening: Any, radius_px: Any, frequency: Floats) -> Floats:
    """m(f) of a round blur, for arrays of parameters that broadcast against the frequencies."""
    squared = np.square(frequency)
    blur: Floats = np.exp(-_TWO_PI_SQUARED * np.square(blur_px) * squared)
    return blur * _sharpening(sharpening, radius_px, squared)


def _sharpening(strength: Any, radius_px: Any, squared_frequency: Floats) -> Floats:
    factor: Floats = 1 + strength * -np.expm1(-_TWO_PI_SQUARED * np.square(radius_px) * squared_frequency)
    return factor


class CameraNoise(StrictModel):
    """Noise of variance c0 + c1 * level + c2 * contrast, in a colour picture on the LR grid.

    The contrast is the standard deviation of the picture about a pixel. Its share stands for what no blur and
    sharpening explain: aliasing, local processing, what is left of a pair's misregistration.

    Attributes:
        read_variance: c0, in squared grey levels of 255.
        shot_variance: c1, in squared grey levels per grey level.
        texture_variance: c2, in squared grey levels per grey level of contrast.
        correlation_px: Standard deviation of the Gaussian that white noise is filtered by to be as smooth as this.
        shared: Correlation between the channels, 0 for independent and 1 for grey noise.
    """

    read_variance: NotNegative
    shot_variance: NotNegative = 0.0
    texture_variance: NotNegative = 0.0
    correlation_px: Annotated[float, Field(ge=0, le=MOST_CORRELATION_PX)] = 0.0
    shared: Annotated[float, Field(ge=0, le=1)] = 0.0

    def deviation(self, level: Floats, contrast: Floats | float = 0.0) -> Floats:
        """The standard deviation in grey levels at each brightness of 0 to 255 and contrast, that of a flat place."""
        variance = self.read_variance + self.shot_variance * np.clip(level, 0, 255)
        found: Floats = np.sqrt(variance + self.texture_variance * contrast)
        return found

    @property
    def is_none(self) -> bool:
        """Whether nothing is added."""
        return self.read_variance == 0 and self.shot_variance == 0 and self.texture_variance == 0

    @property
    def levels(self) -> float:
        """The standard deviation in flat places of middle grey, in grey levels."""
        return float(self.deviation(np.array(127.5)))

    def scaled(self, factor: float) -> CameraNoise:
        """The same noise with `factor` times the standard deviation."""
        return self.model_copy(
            update={
                "read_variance": self.read_variance * factor**2,
                "shot_variance": self.shot_variance * factor**2,
                "texture_variance": self.texture_variance * factor**2,
            }
        )

    def describe(self) -> str:
        """In words."""
        flat = f"noise {self.deviation(np.array(32.0)):.1f} levels in shadows, {self.deviation(np.array(224.0)):.1f}"
        if not self.texture_variance:
            return f"{flat} in highlights"
        return f"{flat} in highlights, {self.deviation(np.array(127.5), STRONG_CONTRAST):.1f} beside strong detail"


class Band(StrictModel):
    """The 90 % band of m(f).

    Attributes:
        frequency: Cycles per HR pixel, rising, up to the LR side's 11/24 cycles per pixel.
        low: 5th percentile of m at each.
        median: 50th.
        high: 95th.
    """

    frequency: tuple[float, ...]
    low: tuple[float, ...]
    median: tuple[float, ...]
    high: tuple[float, ...]

    @staticmethod
    def grid(scale: int) -> Floats:
        """The frequencies of a band for a scale: 1/48 to 23/48 cycles per LR pixel."""
        steps: Floats = np.arange(1, _POINTS + 1) / 48 / scale
        return steps

    @classmethod
    def of(cls, gains: Floats, scale: int) -> Band:
        """Of (draws, frequencies) values of m."""
        low, median, high = (tuple(map(float, row)) for row in np.quantile(gains, _ENDS, axis=0))
        return cls(frequency=tuple(map(float, cls.grid(scale))), low=low, median=median, high=high)

    @property
    def widest(self) -> float:
        """The greatest distance between its ends."""
        return float((np.array(self.high) - np.array(self.low)).max())


class TransferEstimate(StrictModel):
    """A camera as estimated without pairs.

    Attributes:
        transfer: The function of the median parameters.
        draws: Functions in proportion to how likely they are; training draws from these.
        band: Of m(f).
        by_spectra: The band by power spectra alone.
        by_edges: By edges alone; None where too few were found.
        noise: On the LR grid, before compression.
        jpeg_qualities: Of the photographs that are, or were, JPEG files, rising.
        photographs: How many of the camera's were looked at.
        misfit: Chi-squared of what was seen against the likeliest camera.
        freedom: Its degrees of freedom.
        trustworthy: Whether to train on it.
        reason: Why, or why not, in words.
    """

    transfer: TransferFunction
    draws: Annotated[tuple[TransferFunction, ...], Field(min_length=1)]
    band: Band
    by_spectra: Band | None
    by_edges: Band | None
    noise: CameraNoise
    jpeg_qualities: tuple[int, ...]
    photographs: Annotated[int, Field(gt=0)]
    misfit: Annotated[float, Field(ge=0)]
    freedom: Annotated[int, Field(gt=0)]
    trustworthy: bool
    reason: str

    @property
    def explains_photographs(self) -> bool:
        """Whether some blur, sharpening and noise come near to what the photographs show."""
        return self.misfit <= _MOST_MISFIT * self.freedom

    def describe(self) -> str:
        """One line for people."""
        jpeg = f"JPEG quality {int(np.median(self.jpeg_qualities))}" if self.jpeg_qualities else "no JPEG"
        return f"this camera {self.transfer.describe()}; {self.noise.describe()}, {jpeg}; {self.reason}"

    def describe_spread(self) -> str:
        """What else the photographs leave possible: ``blur 1.2 to 1.9 px, sharpening 0 to 60 %``."""
        blurs = np.quantile([draw.mean_blur_px for draw in self.draws], (_ENDS[0], _ENDS[-1]))
        sharpening = 100 * np.quantile([draw.sharpening for draw in self.draws], (_ENDS[0], _ENDS[-1]))
        return f"blur {blurs[0]:.1f} to {blurs[1]:.1f} px, sharpening {sharpening[0]:.0f} to {sharpening[1]:.0f} %"


class PairEstimate(StrictModel):
    """A camera as its pairs show it.

    Attributes:
        transfer: The fitted function.
        frequency: Cycles per HR pixel, rising.
        gain: m at each, found frequency by frequency.
        error: Its standard error.
        coherence: The share of the LR power at each frequency that m H explains.
        noise: What is left over, in flat places and in detail: noise, and what the function does not explain.
        pairs: How many were looked at.
        windows: How many windows of them were compared.
        dropped: How many windows were left out, since both sides differ.
    """

    transfer: TransferFunction
    frequency: tuple[float, ...]
    gain: tuple[float, ...]
    error: tuple[NotNegative, ...]
    coherence: tuple[float, ...]
    noise: CameraNoise
    pairs: Annotated[int, Field(gt=0)]
    windows: Annotated[int, Field(gt=0)]
    dropped: Annotated[int, Field(ge=0)]

    def describe(self) -> str:
        """One line for people."""
        return f"this camera {self.transfer.describe()}; {self.noise.describe()}"

    def describe_source(self) -> str:
        """What it was found from: ``4 pairs (120 windows compared, 7 left out)``."""
        left_out = f", {self.dropped} left out, for both sides differ" if self.dropped else ""
        return f"{plural(self.pairs, 'pair')} ({plural(self.windows, 'window')} compared{left_out})"
