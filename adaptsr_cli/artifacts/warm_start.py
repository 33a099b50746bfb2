"""The header of ``rank_map.safetensors``: the updates of a trained adapter from which training continues."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adaptsr_cli.artifacts.base import FORMAT_VERSION, BackboneIdentity, Factorization, Provenance, StrictModel


class WarmStartHeader(StrictModel):
    """The header of ``rank_map.safetensors``: factors of every update, scale 1, as ``SITE.lora_A`` and ``SITE.lora_B``.

    Attributes:
        provenance: Its seed and data are those of the adapter's training.
        adapter_sha256: Of the file of the adapter that the updates come from.
    """

    artifact: Literal["start"] = "start"
    format_version: Literal[1] = FORMAT_VERSION
    backbone: BackboneIdentity
    provenance: Provenance
    factorization: Factorization
    adapter_sha256: Annotated[str, Field(pattern=r"[0-9a-f]{64}")]
