"""The files that one stage writes and the next reads, as typed, frozen, validated models.

Unknown keys and wrong types are refused. Reading and writing happens in `adaptsr_cli.io.documents`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from math import prod
from typing import Annotated, Final, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

FORMAT_VERSION: Final = 1

Scalar = str | int | float | bool | None
SiteKind = Literal["conv", "attention", "mlp", "linear"]
Factorization = Literal["1x1-kxk", "kxk-1x1", "single"]
Criterion = Literal["gradient", "fisher", "activation", "weight", "snip", "random", "spectral"]
Method = Literal["lora", "full", "bitfit", "dora", "shira", "difffit", "arc", "rasa"]
LoraScaling = Literal["alpha/r", "alpha/sqrt(r)"]
LoraInit = Literal["default", "gradient", "pissa", "adapter"]
ShiraMask = Literal["magnitude", "random", "snip"]
Strategy = Literal["greedy", "uniform", "proportional", "spectral"]


class StrictModel(BaseModel):
    """Base of all artifacts: immutable, strict types, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _refuse_twins(names: Iterable[str]) -> None:
    """Each site has one place only (R6)."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]} comes twice")


class BackboneIdentity(StrictModel):
    """Which weights an artifact belongs to.

    Attributes:
        architecture: Architecture id, for example ``SAFMN``.
        scale: Upscaling factor.
        params: Number of parameters of the network.
        sha256: Over names, types, shapes and bytes of all tensors, so the same in .pth and .safetensors.
        source: File name or catalogue name, for people.
    """

    architecture: str
    scale: Annotated[int, Field(ge=1)]
    params: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, Field(pattern=r"[0-9a-f]{64}")]
    source: str


class Provenance(StrictModel):
    """What made an artifact. No time stamp: the same command gives the same file."""

    tool_version: str
    command: str
    options: dict[str, Scalar | tuple[Scalar, ...]]
    seed: int
    data_fingerprint: str


class RunRecord(StrictModel):
    """``run.json``: the backbone of a run folder, where later commands find it."""

    artifact: Literal["run"] = "run"
    format_version: Literal[1] = FORMAT_VERSION
    backbone: BackboneIdentity
    model_path: str


NotNegative = Annotated[float, Field(ge=0)]


class SiteCriteria(StrictModel):
    """One site by every criterion, the larger the more it should be adapted. Means over batches where data matter.

    Attributes:
        gradient: ||grad_W L||_2 (AdaptSR, Eq. 7).
        fisher: Sum over the weights of the diagonal Fisher information, (grad_W L)^2 of a batch.
        activation: Root mean square of the layer's output; 0 where the layer is not called as a module.
        weight: ||W||_2.
        snip: Sum over the weights of |w grad_w L| (Lee et al. 2019).
        random: Uniform in [0, 1), by the seed.
        spectral: Root of the sum of `SiteSaliency.gains`: the norm of the mean gradient, above the noise.
    """

    gradient: NotNegative
    fisher: NotNegative
    activation: NotNegative
    weight: NotNegative
    snip: NotNegative
    random: NotNegative
    spectral: NotNegative


class SiteSaliency(StrictModel):
    """One adaptable weight and how much the loss wants it changed.

    Attributes:
        name: Exact full name, ``#q``, ``#k``, ``#v`` for the row blocks of a fused projection.
        block: The block it lies in, a row of the heatmap.
        kind: What layer it is.
        shape: Shape of the weight (of the row block).
        params: Number of weights in it.
        rank_cost: Parameters that one rank costs here.
        max_rank: Largest rank whose adapter is not larger than the weight itself.
        score: The criterion that was asked for.
        score_std: Its standard deviation over the batches; 0 for a criterion that is one number for all of them.
        spectrum: Leading singular values of the mean gradient in the shape of the factorisation, descending.
        gains: What each rank, from the first on, buys: squared singular values less the noise floor, never rising.
            None in files of older versions, as are the criteria.
        criteria: All criteria.
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
    criteria: SiteCriteria | None = None

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
        _refuse_twins(site.name for site in self.sites)
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


class SiteRank(StrictModel):
    """The rank that one site was given and the parameters which that costs."""

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
        strategy: ``adapter``: by the singular values of a trained adapter's updates.
        budget_params: What might be spent.
        total_params: What is spent; never more than the budget.
        start_sha256: Of the ``rank_map.safetensors`` beside it, from which training goes on; None where it begins anew.
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
        _refuse_twins(site.name for site in self.sites)
        if self.total_params != sum(site.params for site in self.sites):
            raise ValueError("total_params is not the sum over the sites")
        if self.total_params > self.budget_params:
            raise ValueError("total_params is more than budget_params")
        return self


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
    """The header of ``adapter.safetensors``: everything but the tensors.

    Attributes:
        scale: What low-rank updates are multiplied with.
        factorization: Of low-rank updates of convolutions.
        init: How low-rank updates started; with ``pissa`` their start is kept beside them.
    """

    artifact: Literal["adapter"] = "adapter"
    format_version: Literal[1] = FORMAT_VERSION
    backbone: BackboneIdentity
    provenance: Provenance
    method: Method
    scale: LoraScaling = "alpha/r"
    factorization: Factorization
    init: LoraInit = "default"
    sites: Annotated[tuple[AdapterSite, ...], Field(min_length=1)]
    iteration: Annotated[int, Field(ge=0)]
    val_psnr_y_db: float | None
    backbone_psnr_y_db: float | None

    @model_validator(mode="after")
    def _check_sites(self) -> Self:
        _refuse_twins(site.name for site in self.sites)
        return self


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


class Blend(StrictModel):
    """What was folded in where it was not simply one adapter as it is: W0 + strength * sum of weight * update.

    Attributes:
        to_rank: Largest rank left by truncation; None for no such limit.
        budget: What the truncated adapter might cost, as the user wrote it; None for no such limit.
        tuning: None where the user named weights and strength.
    """

    parts: Annotated[tuple[BlendPart, ...], Field(min_length=1)]
    strength: float
    to_rank: int | None = None
    budget: str | None = None
    tuning: Tuning | None = None


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


class SplitItem(StrictModel):
    """One image of a split, recognised by content, not by path."""

    name: str
    fingerprint: str


class SplitSource(StrictModel):
    """One of the sets that a training drew from.

    Attributes:
        folder: Where it lay.
        layout: What kind of data set it is.
        weight: Its share of the crops relative to the others; None where nothing was said.
        images: How many of its images were trained on.
    """

    folder: str
    layout: str
    weight: Annotated[float, Field(gt=0)] | None
    images: Annotated[int, Field(gt=0)]


class SplitRecord(StrictModel):
    """``training/split.json``: which images were trained on and which were held out.

    Attributes:
        align: What was done about shifts between the sides.
        sources: The sets that were trained on; empty in files of older versions.
    """

    artifact: Literal["split"] = "split"
    format_version: Literal[1] = FORMAT_VERSION
    data: str
    layout: str
    align: Literal["none", "shift"] = "none"
    sources: tuple[SplitSource, ...] = ()
    train: tuple[SplitItem, ...]
    held_out: tuple[SplitItem, ...]


class LogRow(StrictModel):
    """One line of ``training/log.jsonl``: a training or a validation record.

    Attributes:
        loss: Mean of the whole loss since the row before.
        parts: Means of its parts, where it has several; their names are the objective's.
    """

    iteration: Annotated[int, Field(ge=0)]
    loss: float | None = None
    parts: dict[str, float] | None = None
    learning_rate: Annotated[float | None, Field(validation_alias=AliasChoices("learning_rate", "lr"))] = None
    val_psnr_y_db: float | None = None
