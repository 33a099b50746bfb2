"""``rank_map.json``: how a parameter budget was spent on ranks."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from adaptsr_cli.artifacts.adapter import AdapterHeader
from adaptsr_cli.artifacts.base import (
    FORMAT_VERSION,
    BackboneIdentity,
    Provenance,
    SiteKind,
    Strategy,
    StrictModel,
    refuse_duplicates,
)
from adaptsr_cli.artifacts.saliency import Saliency


class SiteRank(StrictModel):
    """The rank of one site, and the parameters that it costs."""

    name: str
    block: str
    kind: SiteKind
    shape: tuple[int, ...]
    score: float
    rank: Annotated[int, Field(ge=0)]
    params: Annotated[int, Field(ge=0)]


class RankMap(StrictModel):
    """``rank_map.json``: how the budget was spent.

    Attributes:
        strategy: How the ranks were chosen; ``adapter``: by the singular values of a trained adapter's updates.
        budget_params: The budget.
        total_params: Parameters that all ranks cost together; never more than the budget.
        start_sha256: SHA-256 of the ``rank_map.safetensors`` beside it, whose updates training continues; None where
            training starts anew.
    """

    artifact: Literal["rank_map"] = "rank_map"
    format_version: Literal[1] = FORMAT_VERSION
    backbone: BackboneIdentity
    provenance: Provenance
    strategy: Strategy | Literal["adapter"]
    budget_params: Annotated[int, Field(gt=0)]
    total_params: Annotated[int, Field(ge=0)]
    min_rank: Annotated[int, Field(ge=0)]
    max_rank: Annotated[int, Field(ge=0)]
    start_sha256: str | None = None
    sites: tuple[SiteRank, ...]

    @model_validator(mode="after")
    def _check_sites(self) -> Self:
        refuse_duplicates(site.name for site in self.sites)
        if self.total_params != sum(site.params for site in self.sites):
            raise ValueError("total_params is not the sum over the sites")
        if self.total_params > self.budget_params:
            raise ValueError("total_params is more than budget_params")
        return self

    def is_by(self, saliency: Saliency) -> bool:
        """Whether the ranks were allocated by these scores."""
        scores = {site.name: site.score for site in saliency.sites}
        return all(scores.get(site.name) == site.score for site in self.sites)

    def is_of(self, adapter: AdapterHeader) -> bool:
        """Whether the adapter has these ranks."""
        return {site.name: site.rank for site in self.sites if site.rank} == {
            site.name: site.rank for site in adapter.sites
        }
