"""``saliency.json`` and the header of ``saliency.safetensors``: what ``score`` measured at every site."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from adaptsr_cli.artifacts.base import (
    FORMAT_VERSION,
    BackboneIdentity,
    Criterion,
    NotNegative,
    Provenance,
    SiteKind,
    StrictModel,
    refuse_duplicates,
)


class SiteSaliency(StrictModel):
    """The saliency of one site.

    Attributes:
        name: Exact full name, ``#q``, ``#k``, ``#v`` for the row blocks of a fused projection.
        block: The repeated block of the network that it lies in, a row of the heatmap.
        kind: Kind of its layer.
        shape: Shape of the weight (of the row block).
        params: Number of weights in it.
        rank_cost: Parameters that one rank costs here.
        max_rank: Largest rank whose adapter is not larger than the weight itself.
        score: The value of the criterion that was asked for.
        score_std: Its standard deviation over the batches; 0 for a criterion that is one number for all of them.
        spectrum: Leading singular values of the mean gradient in the shape of the factorisation, descending.
        gains: First-order gain of each rank, from the first on: squared singular values less the noise floor, never
            rising. None in files of older versions, as are the criteria.
        criteria: All criteria by name (`adaptsr_cli.ranking.criteria` says what each measures); `score` is one of them.
    """

    name: str
    block: str
    kind: SiteKind
    shape: tuple[int, ...]
    params: Annotated[int, Field(gt=0)]
    rank_cost: Annotated[int, Field(gt=0)]
    max_rank: Annotated[int, Field(gt=0)]
    score: NotNegative
    score_std: NotNegative
    spectrum: tuple[float, ...]
    gains: tuple[NotNegative, ...] | None = None
    criteria: dict[Criterion, NotNegative] | None = None

    @model_validator(mode="after")
    def _check_gains(self) -> Self:
        if self.gains is not None and any(later > earlier for earlier, later in pairwise(self.gains)):
            raise ValueError(f"{self.name}: the gains rise")
        return self


class SkippedSite(StrictModel):
    """A weight that cannot be adapted, and why."""

    name: str
    reason: str


class Saliency(StrictModel):
    """``saliency.json``: the scores of all sites.

    Attributes:
        mean_spearman: Mean Spearman rank correlation of the scores between pairs of batches, in [-1, 1]; None for
            one batch, or a criterion that is one number for all of them.
    """

    artifact: Literal["saliency"] = "saliency"
    format_version: Literal[1] = FORMAT_VERSION
    backbone: BackboneIdentity
    provenance: Provenance
    criterion: Criterion
    batches: Annotated[int, Field(gt=0)]
    batch: Annotated[int, Field(gt=0)]
    patch_px: Annotated[int, Field(gt=0)]
    mean_loss: float
    mean_spearman: float | None
    sites: tuple[SiteSaliency, ...]
    skipped: tuple[SkippedSite, ...]

    @model_validator(mode="after")
    def _check_sites(self) -> Self:
        refuse_duplicates(site.name for site in self.sites)
        for site in self.sites:
            if site.params != prod(site.shape) or site.max_rank * site.rank_cost > site.params:
                raise ValueError(f"{site.name}: params, rank_cost, max_rank and shape do not fit together")
        return self


class InitDirectionsHeader(StrictModel):
    """The header of ``saliency.safetensors``: (k, in) leading right singular vectors of the mean gradients, by site."""

    artifact: Literal["directions"] = "directions"
    format_version: Literal[1] = FORMAT_VERSION
    backbone: BackboneIdentity
    provenance: Provenance
