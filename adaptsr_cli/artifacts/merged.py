"""The header of ``merged.safetensors``: which adapters were folded into which backbone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adaptsr_cli.artifacts.base import FORMAT_VERSION, BackboneIdentity, Provenance, StrictModel


class BlendPart(StrictModel):
    """One adapter of a blend."""

    name: str
    sha256: str
    weight: float


class Tuning(StrictModel):
    """How the weights and the strength of a blend were chosen: by held-out PSNR-Y.

    Attributes:
        plain_psnr_y_db: Without any choice: one adapter at strength 1, several averaged.
        tried: Blends that were scored.
    """

    data: str
    fingerprint: str
    images: Annotated[int, Field(gt=0)]
    psnr_y_db: float
    plain_psnr_y_db: float
    tried: Annotated[int, Field(gt=0)]


class PerceptualPart(StrictModel):
    """The perceptual adapter of a blend.

    Attributes:
        sharpness: What its update was multiplied with.
    """

    name: str
    sha256: str
    sharpness: Annotated[float, Field(ge=0, le=1)]


class Blend(StrictModel):
    """What was folded in where it was not simply one adapter as it is.

    W0 + strength * sum of weight * update + sharpness * update of the perceptual adapter.

    Attributes:
        to_rank: Largest rank left by truncation; None for no such limit.
        budget: What the truncated adapter might cost, as the user wrote it; None for no such limit.
        tuning: None where the user named weights and strength.
        perceptual: The adapter that was trained on top of the one in `parts`; None where it was left out.
    """

    parts: Annotated[tuple[BlendPart, ...], Field(min_length=1)]
    strength: float
    to_rank: int | None = None
    budget: str | None = None
    tuning: Tuning | None = None
    # Left out where there is none, so that older versions can read the file.
    perceptual: Annotated[PerceptualPart | None, Field(exclude_if=lambda part: part is None)] = None

    @property
    def sha256s(self) -> tuple[str, ...]:
        """Of the files of all adapters in it."""
        return (*(part.sha256 for part in self.parts), *([self.perceptual.sha256] if self.perceptual else ()))


class MergedHeader(StrictModel):
    """The header of ``merged.safetensors``: which adapter was folded into which backbone.

    Attributes:
        adapter_sha256: Of the adapter's file; of several the SHA-256 of theirs, one after the other as text.
        blend: None where one adapter was folded in as it is.
    """

    artifact: Literal["merged"] = "merged"
    format_version: Literal[1] = FORMAT_VERSION
    backbone: BackboneIdentity
    provenance: Provenance
    adapter_sha256: str
    blend: Blend | None = None

    @property
    def sha256s(self) -> set[str]:
        """Of the files of all adapters in it, and of several together."""
        return {self.adapter_sha256, *(self.blend.sha256s if self.blend else ())}
