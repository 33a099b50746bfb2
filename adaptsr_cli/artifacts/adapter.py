"""The header of ``adapter.safetensors``: everything that is needed to use the tensors."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from adaptsr_cli.artifacts.base import (
    FORMAT_VERSION,
    BackboneIdentity,
    Factorization,
    LoraInit,
    LoraScaling,
    Method,
    Provenance,
    SiteKind,
    StrictModel,
    refuse_duplicates,
)


class AdapterBase(StrictModel):
    """The adapter that another one was trained on top of.

    Attributes:
        sha256: Of its file.
        strength: At which it was folded in underneath.
    """

    sha256: str
    strength: Annotated[float, Field(ge=0)]


class AdapterSite(StrictModel):
    """One site of a trained adapter.

    Attributes:
        rank: What the rank map gave it; a method other than ``lora`` and another factorisation than 1x1-kxk spend the
            parameters of that rank in their own way.
        alpha: Numerator of the scale of low-rank updates, where the method has them.
    """

    name: str
    kind: SiteKind
    shape: tuple[int, ...]
    rank: Annotated[int, Field(gt=0)]
    alpha: Annotated[float, Field(gt=0)]


class AdapterHeader(StrictModel):
    """The header of ``adapter.safetensors``, and of the one in ``perceptual/``: everything but the tensors.

    Attributes:
        lora_scaling: What low-rank updates are multiplied with; ``scale`` in files of older versions.
        factorization: Of low-rank updates of convolutions.
        init: How low-rank factors were initialised; with ``pissa`` their initial values are stored beside them.
        base: What it was trained on top of, and belongs on; None for the backbone itself.
    """

    artifact: Literal["adapter"] = "adapter"
    format_version: Literal[1] = FORMAT_VERSION
    backbone: BackboneIdentity
    provenance: Provenance
    method: Method
    lora_scaling: Annotated[LoraScaling, Field(validation_alias=AliasChoices("lora_scaling", "scale"))] = "alpha/r"
    factorization: Factorization
    init: LoraInit = "default"
    # Left out where there is none, so that older versions can read what they can use.
    base: Annotated[AdapterBase | None, Field(exclude_if=lambda base: base is None)] = None
    sites: Annotated[tuple[AdapterSite, ...], Field(min_length=1)]
    iteration: Annotated[int, Field(ge=0)]
    val_psnr_y_db: float | None
    backbone_psnr_y_db: float | None

    @model_validator(mode="after")
    def _check_sites(self) -> Self:
        refuse_duplicates(site.name for site in self.sites)
        return self
