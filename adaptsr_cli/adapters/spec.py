"""Types of the adaptation methods: the record of a method, the adapter of one site and the parametrization it acts by.

A method is trainable tensors, and a function from a frozen weight or bias to the adapted one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.artifacts.base import Factorization, LoraInit, LoraScaling, Method, ShiraMask
from adaptsr_cli.errors import ArtifactError

Attribute = Literal["weight", "bias"]


class SiteAdapter(nn.Module):
    """The adapter of one site, or of one norm layer. Its parameters train; its buffers are stored with them.

    A new one must change nothing, bit for bit, so that training starts at the backbone.

    Attributes:
        changes: Which tensors of the layer it adapts, of those that the layer has.
    """

    changes: tuple[Attribute, ...] = ("weight",)

    def adapt_weight(self, weight: Tensor) -> Tensor:
        """Compute the adapted weight of the frozen one of the site, of the same shape, fp32."""
        return weight

    def adapt_bias(self, bias: Tensor) -> Tensor:
        """Compute the adapted bias of the frozen one of the site, (out,), fp32."""
        return bias

    def check(self, place: str) -> None:
        """Check the tensors that were just loaded.

        Args:
            place: Where they came from, for the message.

        Raises:
            ArtifactError: They have the right shapes, and values that no such adapter can have.
        """


class AdaptedRows(nn.Module):
    """Parametrization of one weight or bias by the adapters of one or more of its row blocks.

    Args:
        attribute: What is parametrized.
        parts: (rows, adapter) with rows None for the whole tensor, or disjoint ascending row ranges.

    Attributes:
        active: Whether the adapters are applied; else the tensor is the backbone's.
    """

    def __init__(self, attribute: Attribute, parts: Sequence[tuple[tuple[int, int] | None, SiteAdapter]]) -> None:
        super().__init__()
        self.attribute = attribute
        self.active = True
        self.rows = tuple(rows for rows, _ in parts)
        self.adapters = nn.ModuleList(adapter for _, adapter in parts)

    def forward(self, frozen: Tensor) -> Tensor:
        """Compute the adapted tensor, of the same shape and dtype.

        Args:
            frozen: The backbone's tensor.
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
    """The order that a method gets: which network to adapt, where and how.

    Attributes:
        model: The frozen network.
        plan: Sites with their ranks, at least 1; rank x rank cost is what may be spent at the site.
        alpha: Numerator of the scaling of low-rank updates.
        lora_scaling: The rule for that scaling.
        generator: Where random initial values are drawn from.
        factorization: Of low-rank updates of convolutions.
        principal: Low-rank factors start at the leading part of the weight (PiSSA).
        directions: (k, in) first rows of the A factors by site name; None for random ones.
        entries: Which entries a sparse update has: places in the flattened weight by site name; None for those of the
            largest magnitude.
    """

    model: nn.Module
    plan: tuple[tuple[Site, int], ...]
    alpha: float
    lora_scaling: LoraScaling
    generator: torch.Generator
    factorization: Factorization = "1x1-kxk"
    principal: bool = False
    directions: Mapping[str, Tensor] | None = None
    entries: Mapping[str, Tensor] | None = None

    def weight(self, site: Site) -> Tensor:
        """Return the frozen weight of a site."""
        weight = self.model.get_parameter(f"{site.module}.weight").detach()
        return weight if site.rows is None else weight[site.rows[0] : site.rows[1]]

    def buy(self, site: Site, rank: int, *, less: int = 0) -> int:
        """Count the ranks of the wanted factorisation that a planned rank pays for at a site; 0 where it pays for none.

        A rank of another factorisation costs another number of parameters. The adapter never becomes larger than the
        weight, since that of the planned rank does not.

        Args:
            site: The site.
            rank: The planned rank.
            less: Parameters that the method spends otherwise there, at most the cost of one planned rank.
        """
        return (rank * site.rank_cost - less) // site.factor_cost(self.factorization)

    def scaling(self, rank: int) -> float:
        """Compute what a low-rank update of this rank is multiplied with: alpha / r, or alpha / sqrt(r) (rsLoRA)."""
        return self.alpha / (rank if self.lora_scaling == "alpha/r" else rank**0.5)

    def has_bias(self, site: Site) -> bool:
        """Tell whether the layer of a site adds a bias."""
        return isinstance(getattr(self.model.get_submodule(site.module), "bias", None), Tensor)


@dataclass(frozen=True)
class AdapterPlacement:
    """An adapter and its place in the network.

    Attributes:
        name: Prefix of its tensors' names: the site's, or the module's where that is not a site (a norm layer).
        rows: Row block of the module's tensors, or None for all.
    """

    name: str
    module: str
    rows: tuple[int, int] | None
    adapter: SiteAdapter

    @classmethod
    def at(cls, site: Site, adapter: SiteAdapter) -> AdapterPlacement:
        """Place an adapter at a site."""
        return cls(site.name, site.module, site.rows, adapter)


@dataclass(frozen=True)
class AdapterLayout:
    """All adapters of a method on a network.

    Attributes:
        placements: In the order of the plan.
        shared: Modules that several adapters have in common, by the prefix of their tensors' names; a prefix with a
            ``#``, which no module of the network can have.
    """

    placements: tuple[AdapterPlacement, ...]
    shared: Mapping[str, nn.Module] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodSpec:
    """The record of one method: its name, how it is put on a network, and which options it obeys.

    Everything that differs between methods outside of their own files is read from here.

    Attributes:
        name: As in ``--method`` and in adapter files.
        place: Puts the method's adapters on the planned sites of a network.
        summary: What it trains, in one line for people.
        learning_rate_factor: The preset's learning rate times this is the method's own. Measured: the best of three
            for each method on iPhone pairs (docs/results/methods.md). Weights trained as they are need another rate
            than factors whose product is scaled.
        inits: Where its low-rank factors can start.
        factorizations: Of low-rank updates of convolutions.
        masks: How the entries of a sparse update can be chosen; the first is the default.
        is_low_rank: It trains factors ``lora_A`` and ``lora_B`` with a scaling by alpha; ``lora_plus`` is for these.
        is_truncatable: The whole update of a site is one product B A, whose singular values can be cut.
    """

    name: Method
    place: Callable[[AdapterSpec], AdapterLayout]
    summary: str
    learning_rate_factor: float = 1.0
    inits: tuple[LoraInit, ...] = ("default",)
    factorizations: tuple[Factorization, ...] = ("1x1-kxk",)
    masks: tuple[ShiraMask, ...] = ("magnitude",)
    is_low_rank: bool = False
    is_truncatable: bool = False


def require_any(placements: Sequence[AdapterPlacement], what: str) -> tuple[AdapterPlacement, ...]:
    """Return the placements if there are any.

    Raises:
        ArtifactError: There is none.
    """
    if not placements:
        raise ArtifactError(f"none of the planned layers has {what}", "use another `method`, or other `modules`")
    return tuple(placements)
