"""Sites: the weights of a network that can be adapted.

A site is a `Conv2d` weight, a `Linear` weight, or one of the three row blocks (query, key, value) of a fused ``qkv``
projection. Sites are known by exact full name, as in the rank map and the adapter file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from torch import nn

from adaptsr_cli.artifacts.base import Factorization, SiteKind
from adaptsr_cli.artifacts.saliency import SkippedSite
from adaptsr_cli.backbones.backbone import Traits
from adaptsr_cli.errors import ArtifactError, nearest

_ATTENTION = re.compile(
    r"(^|[._])(attn|attention|msa|qkv|kv|q|k|v|to_q|to_k|to_v|to_qkv|to_kv|to_out)([._]|$)|_attn([._]|$)"
)
_MLP = re.compile(r"(^|[._])(mlp|ffn|fc1|fc2|feed_forward|convffn)([._]|\d|$)")


@dataclass(frozen=True)
class Site:
    """One adaptable weight.

    Attributes:
        name: Exact full name: the module's name, with ``#q``, ``#k`` or ``#v`` for a row block of a fused projection.
        module: Name of the module that holds the weight.
        rows: First and one-past-last row of the row block, or None for the whole weight.
        kind: What layer it is.
        block: The repeated block of the network that it lies in, or an empty string.
        shape: Shape of the weight or row block: (out, in) or (Cout, Cin/groups, k, k).
    """

    name: str
    module: str
    rows: tuple[int, int] | None
    kind: SiteKind
    block: str
    shape: tuple[int, ...]

    @property
    def params(self) -> int:
        """Number of weights in the site."""
        return prod(self.shape)

    @property
    def rank_cost(self) -> int:
        """Parameters of one rank: in + out, or Cin/g + Cout k k for the 1x1 -> kxk factorisation (AdaptSR, Eq. 2)."""
        return self.factor_cost("1x1-kxk")

    def factor_cost(self, factorization: Factorization) -> int:
        """Count the parameters of one rank by a factorisation; for a Linear or a 1x1 kernel all are alike.

        1x1-kxk: Cin/g + Cout k k. kxk-1x1: Cin/g k k + Cout. single: Cin/g + k k + Cout.
        """
        out, inside = self.shape[:2]
        kernel = prod(self.shape[2:])
        if kernel == 1 or factorization == "1x1-kxk":
            return inside + out * kernel
        return inside * kernel + out if factorization == "kxk-1x1" else inside + kernel + out

    @property
    def max_rank(self) -> int:
        """Largest rank whose adapter is not larger than the weight; 0 where even one rank is.

        For a weight that unfolds to an (a, b) matrix it is ab / (a + b). That is below min(a, b), the rank at which the
        factors could express every update.
        """
        return self.params // self.rank_cost


@dataclass(frozen=True)
class SiteTable:
    """All sites of a network in the order of its modules, and the weights left out with the reason."""

    sites: tuple[Site, ...]
    skipped: tuple[SkippedSite, ...]

    def by_name(self) -> Mapping[str, Site]:
        """Index the sites by exact name."""
        return {site.name: site for site in self.sites}

    def select(self, names: Iterable[str], place: str) -> list[Site]:
        """Look up the sites of these exact names, in the order given.

        Args:
            names: Exact site names.
            place: Where the names came from, for the message.

        Raises:
            ArtifactError: A name that no site has; the nearest names are given.
        """
        table = self.by_name()
        found = []
        for name in names:
            if name not in table:
                reasons = {entry.name: entry.reason for entry in self.skipped}
                hint = reasons.get(name) or nearest(name, table) or "see `adaptsr score` for the names"
                raise ArtifactError(f"{place} names a site that the backbone does not have: {name}", hint)
            found.append(table[name])
        return found


def find_sites(model: nn.Module, traits: Traits) -> SiteTable:
    """List the adaptable weights of a network.

    Left out, with a reason that `score` prints: what the architecture's traits forbid, transposed convolutions, weights
    that two modules share, and weights for which one rank costs more than the weight itself (depthwise convolutions).
    """
    never = [re.compile(pattern) for pattern in traits.never_adapt]
    fused = [re.compile(pattern) for pattern in traits.fused_qkv]
    sites: list[Site] = []
    skipped: list[SkippedSite] = []
    owners: dict[int, str] = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d | nn.MultiheadAttention):
            continue
        if isinstance(module, nn.ConvTranspose2d | nn.MultiheadAttention):
            skipped.append(SkippedSite(name=name, reason=f"{type(module).__name__} is not a kind of site"))
            continue
        if any(pattern.fullmatch(name) for pattern in never):
            skipped.append(SkippedSite(name=name, reason="fixed by the architecture"))
            continue
        if id(module.weight) in owners:
            reason = f"shares its weight with {owners[id(module.weight)]}"
            skipped.append(SkippedSite(name=name, reason=reason))
            continue
        owners[id(module.weight)] = name
        for site in _sites_of(name, module, model, fused):
            if site.max_rank < 1:
                reason = f"one rank costs {site.rank_cost:,} parameters, the weight has only {site.params:,}"
                skipped.append(SkippedSite(name=site.name, reason=reason))
            else:
                sites.append(site)
    return SiteTable(tuple(sites), tuple(skipped))


def _sites_of(name: str, module: nn.Conv2d | nn.Linear, model: nn.Module, fused: list[re.Pattern[str]]) -> list[Site]:
    """Make one site of a plain layer, three of a fused query-key-value projection."""
    block = _block_of(name, model)
    shape = tuple(module.weight.shape)
    if isinstance(module, nn.Conv2d):
        return [Site(name, name, None, "conv", block, shape)]
    is_fused = any(pattern.fullmatch(name) for pattern in fused)
    if is_fused and module.out_features == 3 * module.in_features:
        width = module.in_features
        return [
            Site(f"{name}#{letter}", name, (index * width, (index + 1) * width), "attention", block, (width, width))
            for index, letter in enumerate("qkv")
        ]
    return [Site(name, name, None, _kind_of_linear(name, block), block, shape)]


def _kind_of_linear(name: str, block: str) -> SiteKind:
    """Classify a Linear as attention, MLP or other by its path inside the block: ``attn.proj``, ``mlp.fc1``."""
    path = name.removeprefix(block).lstrip(".") if block else name
    if _MLP.search(path):
        return "mlp"
    return "attention" if _ATTENTION.search(path) else "linear"


def _block_of(name: str, model: nn.Module) -> str:
    """Find the block of a layer: the deepest numbered composite module on its path, such as ``body.5``.

    Where no container is numbered, it is a first path component that ends in a digit (``block_1``, ``B1``); else an
    empty string.
    """
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if parts[end - 1].isdigit():
            prefix = ".".join(parts[:end])
            module = model.get_submodule(prefix)
            # A Sequential inside a block numbers its layers too; only a module of its own class is a block.
            if any(True for _ in module.children()) and not isinstance(module, nn.Sequential):
                return prefix
    return parts[0] if len(parts) > 1 and parts[0][-1].isdigit() and not parts[0].isdigit() else ""
