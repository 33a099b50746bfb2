"""Camera statistics estimated from photographs: noise, JPEG quality, blur."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from adaptsr_cli.artifacts.base import NotNegative, StrictModel
from adaptsr_cli.units import plural


class Percentiles(StrictModel):
    """How a figure varies between the photographs: its 10th, 50th and 90th percentile."""

    low: NotNegative
    median: NotNegative
    high: NotNegative

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.low <= self.median <= self.high:
            raise ValueError(f"{self.low}, {self.median}, {self.high} do not rise")
        return self


class CameraEstimate(StrictModel):
    """The camera as its photographs show it; lengths are in pixels of the photographs as they lie there.

    Attributes:
        photos: Number of photographs that were measured.
        noise_levels: Standard deviation of the noise in grey levels of 255, averaged over the brightness; of JPEG
            photographs that which they had before they were stored.
        jpeg_photos: How many of the photographs are JPEG files or show traces of one.
        jpeg_quality: Quality of those, on the scale of the Independent JPEG Group; None where there is none.
        blur_px: Standard deviation of the Gaussian that is as wide as the sharpest edges are softer than those of a
            sharp picture, in pixels of the photographs; None where no photograph has an edge to measure.
    """

    photos: Annotated[int, Field(gt=0)]
    noise_levels: Percentiles
    jpeg_photos: Annotated[int, Field(ge=0)]
    jpeg_quality: Percentiles | None
    blur_px: Percentiles | None

    def describe(self) -> str:
        """One line for people."""
        noise = f"noise {_show(self.noise_levels, 1)} grey levels"
        jpeg = "no JPEG"
        if self.jpeg_quality is not None:
            of = "" if self.jpeg_photos == self.photos else f" ({self.jpeg_photos} of {self.photos})"
            jpeg = f"JPEG quality {_show(self.jpeg_quality, 0)}{of}"
        blur = "blur unknown" if self.blur_px is None else f"blur {_show(self.blur_px, 2)} px"
        return f"camera, from {plural(self.photos, 'photo')}: {noise}, {jpeg}, {blur}"


def _show(spread: Percentiles, digits: int) -> str:
    low, median, high = (f"{value:.{digits}f}" for value in (spread.low, spread.median, spread.high))
    return median if low == high else f"{median} ({low} to {high})"
