"""``degradation.json``: what happens to a picture between lens and file, as typed steps with typed ranges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from adaptsr_cli.artifacts.base import FORMAT_VERSION, StrictModel
from adaptsr_cli.artifacts.camera import CameraEstimate
from adaptsr_cli.artifacts.transfer import CameraNoise, PairEstimate, TransferEstimate, TransferFunction

if TYPE_CHECKING:
    import numpy as np

Filter = Literal["area", "bilinear", "bicubic", "lanczos"]
Share = Annotated[float, Field(ge=0, le=1)]
Filters = Annotated[tuple[Filter, ...], Field(min_length=1)]

MOST_BLUR_LR_PX: Final = 20.0
"""A picture that is blurred more shows nothing of a scene, and the kernel becomes larger than pictures are."""

MOST_SIZE: Final = 16.0
"""Of a picture on the way, over that of its LR image."""

ALL_FILTERS: Final[tuple[Filter, ...]] = ("area", "bilinear", "bicubic")


class Span(StrictModel):
    """A range from which a number is drawn uniformly; `low` equal to `high` is a fixed number."""

    low: Annotated[float, Field(ge=0)]
    high: Annotated[float, Field(ge=0, le=1000)]  # above all levels, lengths and qualities; beyond, numbers overflow

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the range runs from {self.low} down to {self.high}")
        return self

    def draw(self, rng: np.random.Generator) -> float:
        """One number of the range."""
        return float(rng.uniform(self.low, self.high))


class OddSpan(StrictModel):
    """A range of odd lengths in pixels, each as likely; both ends belong to it."""

    low: Annotated[int, Field(ge=1)]
    high: Annotated[int, Field(ge=1, le=101)]

    @model_validator(mode="after")
    def _check_odd(self) -> Self:
        if self.low > self.high or self.low % 2 == 0 or self.high % 2 == 0:
            raise ValueError(f"{self.low} to {self.high} is not a rising range of odd numbers")
        return self

    def draw(self, rng: np.random.Generator) -> int:
        """One odd number of the range."""
        return int(rng.integers(self.low // 2, self.high // 2 + 1)) * 2 + 1


class DegradationStep(StrictModel):
    """Base of the steps; `adaptsr_cli.imaging.degrade` applies them.

    Attributes:
        leads_to: The size of the picture after the step: its own one, another one, or that of the LR image.
    """

    leads_to: ClassVar[Literal["same size", "other size", "lr size"]] = "same size"


class LensBlur(DegradationStep):
    """A Gaussian blur, stated in LR pixels: so one lens is the same at every scale.

    Attributes:
        sigma_lr_px: Standard deviation along the longer axis, in pixels of the LR image.
        roundness: Shorter over longer axis, in (0, 1]; which way the longer one points is random.
    """

    kind: Literal["lens_blur"] = "lens_blur"
    sigma_lr_px: Span
    roundness: Span = Span(low=1, high=1)

    @model_validator(mode="after")
    def _check_sigma(self) -> Self:
        if self.sigma_lr_px.high > MOST_BLUR_LR_PX:
            raise ValueError(f"a blur of {self.sigma_lr_px.high:g} LR px is more than {MOST_BLUR_LR_PX:g}")
        return self


class CameraTransfer(DegradationStep):
    """What a camera keeps of the picture, before the plain reduction: blur times sharpening.

    Attributes:
        functions: One is drawn for each picture, each as likely.
        scale: HR pixels per LR pixel where lengths are as stated; at other scales they follow, so that one camera is
            the same at every scale.
    """

    kind: Literal["camera_transfer"] = "camera_transfer"
    functions: Annotated[tuple[TransferFunction, ...], Field(min_length=1)]
    scale: Annotated[int, Field(ge=1)]


class CameraGrain(DegradationStep):
    """The noise of a camera, which grows with brightness; neighbours and channels share some of it."""

    kind: Literal["camera_grain"] = "camera_grain"
    noise: CameraNoise


class KernelShares(StrictModel):
    """How often each shape of kernel comes; the sum is one (Real-ESRGAN, Sec. 3.1)."""

    iso: Share = 0.45
    aniso: Share = 0.25
    generalized_iso: Share = 0.12
    generalized_aniso: Share = 0.03
    plateau_iso: Share = 0.12
    plateau_aniso: Share = 0.03

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        total = sum(self.model_dump().values())
        if not math.isclose(total, 1, abs_tol=1e-6):
            raise ValueError(f"the shares of the kernels add up to {total:g}, not to 1")
        return self


class KernelBlur(DegradationStep):
    """A blur by a small kernel of random shape, or by a sinc filter that makes ringing (Real-ESRGAN).

    Attributes:
        share: How often there is blur at all.
        size_px: Side of the kernel.
        sigma_px: Standard deviation along each axis of the kernel.
        generalized_beta: Exponent of the generalised Gaussians; below and above 1 are equally likely.
        plateau_beta: Exponent of the plateau-shaped kernels, likewise.
        shapes: How often each shape comes where it is no sinc filter.
        sinc_share: How often it is a sinc filter.
        sinc_cutoff: Its cutoff in radians per pixel, for kernels of 13 px and more.
        sinc_cutoff_small: The same for smaller kernels.
        lengths_at_x4: Whether lengths are in pixels of a x4 HR image, and follow the scale, so that one camera is the
            same at every scale; else they are in pixels of the image as it then is.
    """

    kind: Literal["kernel_blur"] = "kernel_blur"
    share: Share = 1.0
    size_px: OddSpan = OddSpan(low=7, high=21)
    sigma_px: Span
    generalized_beta: Span = Span(low=0.5, high=4)
    plateau_beta: Span = Span(low=1, high=2)
    shapes: KernelShares = KernelShares()
    sinc_share: Share = 0.1
    sinc_cutoff: Span = Span(low=math.pi / 5, high=math.pi)
    sinc_cutoff_small: Span = Span(low=math.pi / 3, high=math.pi)
    lengths_at_x4: bool = False


class RandomResize(DegradationStep):
    """A change of size on the way, without antialiasing, by the kernels of `torch.nn.functional.interpolate`.

    Attributes:
        up: How often it becomes larger than `base`.
        down: How often it becomes smaller; else it gets just that size.
        size: Smallest and largest size over `base`; 1 lies between.
        base: The size that counts as 1, over that of the final LR image; 4 is that of a x4 HR image.
        filters: The kernels to draw from.
    """

    leads_to = "other size"
    kind: Literal["random_resize"] = "random_resize"
    up: Share
    down: Share
    size: Span
    base: Annotated[float, Field(gt=0)] = 1.0
    filters: Filters = ALL_FILTERS

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if not 0 < self.size.low <= 1 <= self.size.high or self.up + self.down > 1 + 1e-6:
            raise ValueError("sizes must enclose 1, and the shares of up and down be 1 at most together")
        if self.size.high * self.base > MOST_SIZE:
            raise ValueError(
                f"{self.size.high * self.base:g} times the size of the LR image is more than {MOST_SIZE:g}"
            )
        return self


class RandomNoise(DegradationStep):
    """Gaussian or Poisson noise (Real-ESRGAN).

    Attributes:
        gaussian_share: How often it is Gaussian; else Poisson.
        gaussian_levels: Standard deviation of the Gaussian noise, in grey levels of 255.
        poisson_scale: What the noise of counting 256 photons in a white pixel is multiplied with.
        grey_share: How often the noise is the same in all three channels.
    """

    kind: Literal["random_noise"] = "random_noise"
    gaussian_share: Share = 0.5
    gaussian_levels: Span
    poisson_scale: Span
    grey_share: Share = 0.4


class SensorNoise(DegradationStep):
    """The noise of a sensor: its variance is that of the photons, which grows with brightness, and that of reading.

    Attributes:
        shot: Variance of a white pixel's photon noise, with values in [0, 1].
        read_levels: Standard deviation of the noise that is everywhere, in grey levels of 255.
        grey_share: How often the noise is the same in all three channels.
    """

    kind: Literal["sensor_noise"] = "sensor_noise"
    shot: Span = Span(low=0, high=0)
    read_levels: Span = Span(low=0, high=0)
    grey_share: Share = 0.0


class Jpeg(DegradationStep):
    """A JPEG file with 4:2:0 colour.

    Attributes:
        quality: On the scale of the Independent JPEG Group, 1 to 100.
        share: How often there is one at all.
    """

    kind: Literal["jpeg"] = "jpeg"
    quality: Span
    share: Share = 1.0

    @model_validator(mode="after")
    def _check_quality(self) -> Self:
        if self.quality.low < 1 or self.quality.high > 100:
            raise ValueError("JPEG qualities lie between 1 and 100")
        return self


class ToLr(DegradationStep):
    """The reduction to the LR size, antialiased as by MATLAB's `imresize`; `filters` are those to draw from."""

    leads_to = "lr size"
    kind: Literal["to_lr"] = "to_lr"
    filters: Filters = ("bicubic",)


class FinalSinc(DegradationStep):
    """The end of Real-ESRGAN's pipeline: to the LR size, a sinc filter, and a JPEG file before or after these two.

    Attributes:
        jpeg_last: How often JPEG comes last.
        jpeg_quality: Its quality, 1 to 100.
        filters: The kernels of the reduction, without antialiasing.
        sinc_share: How often there is a sinc filter.
        size_px: Side of its kernel, in LR pixels.
        sinc_cutoff: Its cutoff in radians per LR pixel.
    """

    leads_to = "lr size"
    kind: Literal["final_sinc"] = "final_sinc"
    jpeg_last: Share = 0.5
    jpeg_quality: Span
    filters: Filters = ALL_FILTERS
    sinc_share: Share = 0.8
    size_px: OddSpan = OddSpan(low=7, high=21)
    sinc_cutoff: Span = Span(low=math.pi / 3, high=math.pi)

    @model_validator(mode="after")
    def _check_quality(self) -> Self:
        if self.jpeg_quality.low < 1 or self.jpeg_quality.high > 100:
            raise ValueError("JPEG qualities lie between 1 and 100")
        return self


# A new step is added here, and to the `match` of `adaptsr_cli.imaging.degrade`, which mypy then asks for.
Step = Annotated[
    LensBlur
    | KernelBlur
    | CameraTransfer
    | RandomResize
    | RandomNoise
    | SensorNoise
    | CameraGrain
    | Jpeg
    | ToLr
    | FinalSinc,
    Field(discriminator="kind"),
]


class Degradation(StrictModel):
    """How an LR image comes about: steps in their order, just one of which ends at the LR size."""

    name: str
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        sizes = [step.leads_to for step in self.steps if step.leads_to != "same size"]
        if sizes.count("lr size") != 1 or sizes[-1] != "lr size":
            raise ValueError("just one step must lead to the LR size, and none may change the size after it")
        return self


class DegradationRecord(StrictModel):
    """``degradation.json``: what made the LR side of photographs, and the estimate that it was centred on, if any.

    Attributes:
        camera: Identity of the camera's photographs, where they lay in a folder of their own; None in files of older
            versions.
    """

    artifact: Literal["degradation"] = "degradation"
    format_version: Literal[1] = FORMAT_VERSION
    degradation: Degradation
    estimate: CameraEstimate | TransferEstimate | PairEstimate | None
    camera: Annotated[str | None, Field(exclude_if=lambda camera: camera is None)] = None
