"""Choice of what goes along with a picture."""

from __future__ import annotations

from dataclasses import dataclass

from adaptsr_cli.io.attached.exif_density import scale_density
from adaptsr_cli.io.attached.record import NOTHING, Attachments


@dataclass(frozen=True)
class KeepPolicy:
    """What goes along.

    Attributes:
        strip: Nothing does, but what the colours and the timing depend on.
        density_factor: What the resolution is multiplied by.
    """

    strip: bool = False
    density_factor: float = 1.0

    def apply(self, exif: bytes | None, attached: Attachments) -> tuple[bytes | None, Attachments]:
        """What goes along with one picture or page."""
        if self.strip:
            return None, NOTHING
        if self.density_factor == 1:
            return exif, attached
        return (
            scale_density(exif, self.density_factor) if exif else None,
            attached.with_scaled_density(self.density_factor),
        )
