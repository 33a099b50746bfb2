"""Singular values of a trained low-rank adapter's updates, by which ranks are truncated or given anew."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from adaptsr_cli.adapters.attach import Attachment, detach
from adaptsr_cli.adapters.factors import KernelFirstFactors, LowRankFactors
from adaptsr_cli.adapters.methods import METHODS
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.truncation import MatrixFactors, UpdateSpectrum, decompose
from adaptsr_cli.artifacts.base import Factorization
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.ranking.regrowth import gains_in_proportion
from adaptsr_cli.stages.common.adapter_file import AdapterSource, put_adapter


def require_low_rank(adapter: AdapterSource, what: str) -> None:
    """Refuse adapters whose updates have no ranks to choose from.

    Args:
        adapter: The adapter.
        what: What was wanted of it, for the message.

    Raises:
        ArtifactError: It is of another method or factorisation.
    """
    if not METHODS[adapter.header.method].is_truncatable:
        able = next(name for name, spec in METHODS.items() if spec.is_truncatable)
        raise ArtifactError(
            f"{what} needs the singular values of low-rank updates, and {adapter.path} is an adapter of the method "
            f"{adapter.header.method}",
            f"name an adapter of the method {able}, which `adaptsr train --method {able}` makes",
        )
    if adapter.header.factorization == "single" or adapter.header.init == "pissa":
        option = "`init` pissa" if adapter.header.init == "pissa" else "`conv_factorization` single"
        raise ArtifactError(
            f"{what} needs the singular values of low-rank updates, and those of {adapter.path} ({option}) have other "
            "ranks than planned",
            "name an adapter that was trained without that option",
        )


def inner_rank(site: Site, planned: int, factorization: Factorization) -> int:
    """How many ranks of the adapter's factorisation a planned rank pays for at a site."""
    return planned * site.rank_cost // site.factor_cost(factorization)


def spectra_of(backbone: Backbone, adapter: AdapterSource) -> dict[str, UpdateSpectrum]:
    """The singular values and vectors of all updates of a low-rank adapter, by site name.

    Raises:
        ArtifactError: The adapter was made for other weights, or its tensors are not what its header says.
    """
    attachment = put_adapter(backbone, adapter.header, adapter.tensors, adapter.path)
    spectra = {}
    for site in adapter.header.sites:
        factors = matrix_factors(attachment, site.name)
        if factors is None:  # the planned rank paid for none of this factorisation
            spectra[site.name] = decompose(torch.zeros(site.shape))
        else:
            spectra[site.name] = decompose(factors.delta(), kernels_first=isinstance(factors, KernelFirstFactors))
    detach(attachment)
    return spectra


def planned_gains(site: Site, gains: Sequence[float], factorization: Factorization, count: int) -> tuple[float, ...]:
    """What planned ranks are worth where `gains` are those of the ranks that they pay for."""
    own, planned = site.factor_cost(factorization), site.rank_cost
    return tuple(gains) if own == planned else gains_in_proportion(gains, planned / own, count)


def matrix_factors(attachment: Attachment, name: str) -> MatrixFactors | None:
    """The factors of a site; None where the planned rank paid for none."""
    adapter = attachment.adapters.get(name)
    assert adapter is None or isinstance(adapter, LowRankFactors | KernelFirstFactors)
    return adapter
