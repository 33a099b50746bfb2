"""The metadata of an upscaled image: how it was made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adaptsr_cli.artifacts.base import StrictModel


class UpscaleMetadata(StrictModel):
    """How a result was made, as far as its pixels depend on it.

    Attributes:
        tool_version: Of the program; not compared.
        weights_sha256: The network's weights as they were run, adapters folded in.
        outscale: The final factor.
        precision: The arithmetic.
        ensemble: Whether eight turned copies were averaged.
        quality: Of a lossy file; None for the others.
        source: Fingerprint of the input file.
        raw: How a raw file was rendered; None for other files.
        network: Architecture and scale, for people; not compared, and missing in results of earlier versions.
        dpi: Whether the resolution in dpi is that of the input, or was multiplied by the factor.
        tile_px: Side of the tiles, where it was named; not compared where nobody names one now.
        tile_pad_px: The same of the context around them.
        engine: What ran the network; not compared, since all engines agree within 1e-4 of the range.
    """

    artifact: Literal["upscaled"] = "upscaled"
    tool_version: str
    weights_sha256: str
    outscale: float
    precision: str
    ensemble: bool
    quality: int | None
    source: str
    raw: str | None = None
    network: str | None = None
    dpi: Literal["keep", "scaled"] = "keep"
    tile_px: Annotated[int | None, Field(exclude_if=lambda tile: tile is None)] = None
    tile_pad_px: Annotated[int | None, Field(exclude_if=lambda pad: pad is None)] = None
    engine: str = "torch"
