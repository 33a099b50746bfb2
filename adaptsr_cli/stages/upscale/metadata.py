"""Metadata of upscaled files: how a file was made, and whether an existing file is up to date."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from adaptsr_cli import __version__
from adaptsr_cli.artifacts.upscale import UpscaleMetadata
from adaptsr_cli.errors import ImageError
from adaptsr_cli.io.attached.policy import KeepPolicy
from adaptsr_cli.io.formats.camera_raw import RawRendering
from adaptsr_cli.io.hashing import file_fingerprint
from adaptsr_cli.io.images import holds_raw, is_lossy, read_note
from adaptsr_cli.io.integrity import is_whole


@dataclass(frozen=True)
class UpscaleSettings:
    """What the metadata of all results of one call have in common.

    Attributes:
        weights_sha256: See `UpscaleMetadata`, as all others.
        quality: Of lossy files.
        raw: How raw files are rendered.
        strip: Nothing goes along with the pictures, these metadata included.
        tile_px: As named; None where nobody did.
        tile_pad_px: The same.
    """

    weights_sha256: str
    network: str
    outscale: float
    precision: str
    ensemble: bool
    quality: int
    raw: RawRendering
    dpi: Literal["keep", "scaled"] = "keep"
    strip: bool = False
    tile_px: int | None = None
    tile_pad_px: int | None = None

    @property
    def policy(self) -> KeepPolicy:
        """What goes along with the pictures."""
        return KeepPolicy(strip=self.strip, density_factor=self.outscale if self.dpi == "scaled" else 1)

    def write(self, metadata: UpscaleMetadata) -> str | None:
        """The text that a result keeps; None for none."""
        return None if self.strip else metadata.model_dump_json()

    def describe(self, source: Path, target: Path) -> UpscaleMetadata:
        """Make the metadata of one result.

        Raises:
            DataError: `source` cannot be read.
            ImageError: It is no image.
        """
        return UpscaleMetadata(
            tool_version=__version__,
            weights_sha256=self.weights_sha256,
            outscale=self.outscale,
            precision=self.precision,
            ensemble=self.ensemble,
            quality=self.quality if is_lossy(target) else None,
            source=file_fingerprint(source),
            raw=self.raw.describe() if holds_raw(source) else None,
            network=self.network,
            dpi=self.dpi,
            tile_px=self.tile_px,
            tile_pad_px=self.tile_pad_px,
        )


@dataclass(frozen=True)
class ExistingResult:
    """What to do about a result that exists.

    Attributes:
        redo: It was written by adaptsr, but is truncated: it is made again.
        warning: Why it is left alone although it is not what would be made now; None where it is up to date.
    """

    redo: bool
    warning: str | None


def check_existing(target: Path, wanted: UpscaleMetadata, *, strip: bool = False) -> ExistingResult:
    """Check whether an existing file is complete and what would be made now.

    No file is overwritten that has no metadata of ours, nor a complete one that was made with other settings.
    """
    found = _read_metadata(target)
    if found is None:
        return ExistingResult(redo=False, warning="exists already, and has no metadata that say how it was made")
    if not is_whole(target):
        return ExistingResult(redo=True, warning=None)
    names = {
        "weights_sha256": "by another model",
        "outscale": f"with `outscale` {found.outscale:g}",
        "precision": f"in {found.precision}",
        "ensemble": "with `ensemble`" if found.ensemble else "without `ensemble`",
        "quality": f"with `quality` {found.quality}",
        "source": "from another input, or another version of it",
        "raw": f"of the raw file by {found.raw}",
        "dpi": f"with `dpi` {found.dpi}",
    }
    differing = [text for name, text in names.items() if getattr(found, name) != getattr(wanted, name)]
    for name, option in (("tile_px", "tile"), ("tile_pad_px", "tile_pad")):
        was, now = getattr(found, name), getattr(wanted, name)
        if now not in (None, was):  # who names none takes any
            differing.append(f"without `{option}`" if was is None else f"with `{option}` {was}")
    differing += ["without `strip`"] * strip
    return ExistingResult(redo=False, warning=f"exists already, made {', '.join(differing)}" if differing else None)


def _read_metadata(target: Path) -> UpscaleMetadata | None:
    """The metadata in a file; None where there are none of ours."""
    try:
        text = read_note(target)
        return None if text is None else UpscaleMetadata.model_validate_json(text)
    except (ImageError, ValidationError):
        return None
