"""What every method is: trainable tensors, and a function from a frozen weight or bias to the adapted one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.artifacts.base import Factorization, LoraScaling
from adaptsr_cli.errors import ArtifactError

Attribute = Literal["weight", "bias"]


class SiteAdapter(nn.Module):
    """One method at one place. Its parameters train; its buffers are kept with them.

    At the start it must change nothing, bit for bit, so that training starts at the backbone.

    Attributes:
        changes: Which tensors of the layer it adapts, of those that the layer has.
    """

    changes: tuple[Attribute, ...] = ("weight",)

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """The adapted weight for the frozen one of the site, of the same shape, fp32."""
        return weight

    def adapt_bias(self, bias: Tensor) -> Tensor:
        """The adapted bias for the frozen one of the site, (out,), fp32."""
        return bias

    def check(self, place: str) -> None:
        """Looks at tensors that were just loaded.

        Args:
            place: Where they came from, for the message.

        Raises:
            ArtifactError: They have the right shapes and make no sense.
        """


class AdaptedRows(nn.Module):
    """Parametrization of one weight or bias by the adapters of one or more of its row blocks.

    Args:
        attribute: What is parametrized.
        parts: (rows, adapter) with rows None for the whole tensor, or disjoint ascending row ranges.

    Attributes:
        active: Whether the adapters count; else the tensor is the backbone's.
    """

    def __init__(self, attribute: Attribute, parts: Sequence[tuple[tuple[int, int] | None, SiteAdapter]]) -> None:
        super().__init__()
        self.attribute = attribute
        self.active = True
        self.rows = tuple(rows for rows, _ in parts)
        self.adapters = nn.ModuleList(adapter for _, adapter in parts)

    def forward(self, frozen: Tensor) -> Tensor:
        """The adapted tensor, of the same shape and dtype.

        Args:
            frozen: What the backbone has.
        """
        if not self.active:
            return frozen
        pieces: list[Tensor] = []
        position = 0
        # In bf16 the small updates would be lost that the fp32 weight can still hold.
        with torch.autocast(frozen.device.type, enabled=False):
            for rows, adapter in zip(self.rows, self.adapters, strict=True):
                assert isinstance(adapter, SiteAdapter)
                adapt = adapter.adapt_weight if self.attribute == "weight" else adapter.adapt_bias
                if rows is None:
                    return adapt(frozen)
                start, stop = rows
                if start > position:
                    pieces.append(frozen[position:start])
                pieces.append(adapt(frozen[start:stop]))
                position = stop
        if position < frozen.shape[0]:
            pieces.append(frozen[position:])
        return torch.cat(pieces)


@dataclass(frozen=True)
class AdapterSpec:
    """What a method is asked to put on a network.

    Attributes:
        model: The frozen network.
        plan: Sites with their ranks, at least 1; rank x rank cost is what may be spent at the site.
        alpha: Numerator of the scale of low-rank updates.
        scale: The rule for that scale.
        generator: Where random starts are drawn from.
        factorization: Of low-rank updates of convolutions.
        principal: Low-rank updates start at the leading part of the weight.
        directions: (k, in) first rows of the A factors by site name; None for random ones.
        importance: What the entries of a sparse update are chosen by: a tensor of the site's shape by site name; None
            for the magnitude of the weights.
    """

    model: nn.Module
    plan: tuple[tuple[Site, int], ...]
    alpha: float
    scale: LoraScaling
    generator: torch.Generator
    factorization: Factorization = "1x1-kxk"
    principal: bool = False
    directions: Mapping[str, Tensor] | None = None
    importance: Mapping[str, Tensor] | None = None

    def weight(self, site: Site) -> Tensor:
        """The frozen weight of a site."""
        weight = self.model.get_parameter(f"{site.module}.weight").detach()
        return weight if site.rows is None else weight[site.rows[0] : site.rows[1]]

    def buy(self, site: Site, rank: int, *, less: int = 0) -> int:
        """Ranks of the wanted factorisation that the parameters of a planned rank pay for at a site; perhaps none.

        They never make an adapter larger than the weight, since the planned rank does not.

        Args:
            site: Where.
            rank: The planned rank.
            less: Parameters that are spent otherwise, at most the cost of one planned rank.
        """
        return (rank * site.rank_cost - less) // site.factor_cost(self.factorization)

    def scaling(self, rank: int) -> float:
        """What a low-rank update of this rank is multiplied with: alpha / r, or alpha / sqrt(r) (rsLoRA)."""
        return self.alpha / (rank if self.scale == "alpha/r" else rank**0.5)

    def has_bias(self, site: Site) -> bool:
        """Whether the layer of a site adds a bias."""
        return isinstance(getattr(self.model.get_submodule(site.module), "bias", None), Tensor)


@dataclass(frozen=True)
class AdapterPlacement:
    """An adapter and where it goes.

    Attributes:
        name: Prefix of its tensors' names: the site's, or the module's where it is no site.
        rows: Row block of the module's tensors, or None for all.
    """

    name: str
    module: str
    rows: tuple[int, int] | None
    adapter: SiteAdapter

    @classmethod
    def at(cls, site: Site, adapter: SiteAdapter) -> AdapterPlacement:
        """An adapter at a site."""
        return cls(site.name, site.module, site.rows, adapter)


@dataclass(frozen=True)
class AdapterLayout:
    """All adapters of a method on a network.

    Attributes:
        placements: In the order of the plan.
        shared: Modules that several adapters hold in common, by the prefix of their tensors' names, which no module of
            the network can have.
    """

    placements: tuple[AdapterPlacement, ...]
    shared: Mapping[str, nn.Module] = field(default_factory=dict)


def refuse_empty(placements: Sequence[AdapterPlacement], what: str) -> tuple[AdapterPlacement, ...]:
    """The placements, where there are any.

    Raises:
        ArtifactError: There is none.
    """
    if not placements:
        raise ArtifactError(f"none of the planned layers has {what}", "use another --method, or other --modules")
    return tuple(placements)
