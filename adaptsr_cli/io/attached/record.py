"""What goes with a picture beside EXIF and colour: XMP, IPTC, texts, resolution and georeference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from adaptsr_cli.io.attached.geo import GeoTag, resize_geo
from adaptsr_cli.io.attached.photoshop import scale_resolution
from adaptsr_cli.io.attached.png_texts import PngText
from adaptsr_cli.io.attached.xmp import scale_densities, scale_pixels

_NEARLY_WHOLE: Final = 0.01


@dataclass(frozen=True)
class Density:
    """Resolution of a picture, or the shape of its pixels.

    Attributes:
        across: Pixels an inch from left to right.
        down: Pixels an inch from top to bottom.
        absolute: Whether these are pixels an inch; else only their ratio is meant.
    """

    across: float
    down: float
    absolute: bool = True

    def scaled(self, factor: float) -> Density:
        """The resolution at which a picture with `factor` times the pixels has the same size on paper."""
        return replace(self, across=self.across * factor, down=self.down * factor) if self.absolute else self

    @property
    def rounded(self) -> tuple[float, float]:
        """Both numbers; what a file rounded to whole pixels a metre is put right."""
        return _snap(self.across), _snap(self.down)


@dataclass(frozen=True)
class Attachments:
    """What a file says of its picture.

    Attributes:
        xmp: The XMP packet.
        xmp_extended: The second packet that a JPEG has for what does not fit into the first.
        iptc: The IPTC record (IIM).
        resources: Photoshop's resources, those left out that describe the pixels.
        texts: PNG texts, or the comments of a JPEG or GIF as such.
        density: The resolution.
        geo: GeoTIFF tags.
    """

    xmp: bytes | None = None
    xmp_extended: bytes | None = None
    iptc: bytes | None = None
    resources: bytes | None = None
    texts: tuple[PngText, ...] = ()
    density: Density | None = None
    geo: tuple[GeoTag, ...] = ()

    def resized(self, across: float, down: float) -> Attachments:
        """With positions and sizes that count pixels brought to another size of the picture.

        Args:
            across: New width over old width.
            down: New height over old height.
        """
        return replace(
            self,
            xmp=scale_pixels(self.xmp, across, down) if self.xmp else None,
            geo=resize_geo(self.geo, across, down),
        )

    def with_scaled_density(self, factor: float) -> Attachments:
        """With the resolution at which the larger picture has the same size on paper."""
        return replace(
            self,
            xmp=scale_densities(self.xmp, factor) if self.xmp else None,
            resources=scale_resolution(self.resources, factor) if self.resources else None,
            density=self.density.scaled(factor) if self.density else None,
        )


NOTHING: Final = Attachments()
"""A picture of which nothing is said."""


def make_density(across: object, down: object, *, absolute: bool = True) -> Density | None:
    """A resolution, if it is one: positive numbers, and of those without a unit two that differ."""
    try:
        x, y = float(across), float(down)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not (0 < x < 1e6 and 0 < y < 1e6) or (not absolute and x == y):
        return None
    return Density(x, y, absolute)


def _snap(number: float) -> float:
    return float(round(number)) if abs(number - round(number)) < _NEARLY_WHOLE else number
