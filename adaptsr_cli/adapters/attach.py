"""Putting adapters on a network, reading and writing their tensors, and folding them into the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from adaptsr_cli.adapters.lora import LowRankFactors, LowRankUpdate
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.errors import ArtifactError


@dataclass(frozen=True)
class Attachment:
    """The adapters on one network.

    Attributes:
        model: The network that carries them.
        factors: Factors by site name, in the order of attachment.
        modules: Names of the modules whose weight is parametrized.
    """

    model: nn.Module
    factors: Mapping[str, LowRankFactors]
    modules: tuple[str, ...]

    def parameters(self) -> Iterator[nn.Parameter]:
        """All trainable parameters, in a fixed order."""
        for factors in self.factors.values():
            yield factors.lora_A
            yield factors.lora_B

    @property
    def params(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    def state(self) -> dict[str, Tensor]:
        """Copies of the tensors on the CPU, named ``SITE.lora_A`` and ``SITE.lora_B``, fp32."""
        return {
            f"{name}.{part}": getattr(factors, part).detach().cpu().clone()
            for name, factors in self.factors.items()
            for part in ("lora_A", "lora_B")
        }

    def load(self, state: Mapping[str, Tensor], place: str) -> None:
        """Copies tensors in, strictly.

        Args:
            state: Named and shaped as by `state`.
            place: Where they came from, for the message.

        Raises:
            ArtifactError: A tensor is missing, left over, of another shape, or not finite.
        """
        expected = dict(self._named())
        missing = [name for name in expected if name not in state]
        extra = [name for name in state if name not in expected]
        if missing or extra:
            what = f"lacks {missing[0]}" if missing else f"has an unexpected tensor {extra[0]}"
            more = len(missing) + len(extra) - 1
            raise ArtifactError(f"{place} {what}" + (f" (and {more} more)" if more else ""), "train the adapter anew")
        for name, parameter in expected.items():
            tensor = state[name]
            if tensor.shape != parameter.shape:
                raise ArtifactError(
                    f"{place}: {name} has shape {tuple(tensor.shape)}, expected {tuple(parameter.shape)}",
                    "train the adapter anew",
                )
            if not torch.isfinite(tensor).all():
                raise ArtifactError(f"{place}: {name} has values that are not finite", "train the adapter anew")
            with torch.no_grad():
                parameter.copy_(tensor)

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, factors in self.factors.items():
            yield f"{name}.lora_A", factors.lora_A
            yield f"{name}.lora_B", factors.lora_B


def attach(model: nn.Module, plan: Sequence[tuple[Site, int]], *, alpha: float, seed: int = 0) -> Attachment:
    """Freezes a network and puts low-rank updates on it.

    Args:
        model: The network; its own parameters stop requiring gradients.
        plan: Sites with their ranks; a rank of 0 attaches nothing.
        alpha: Numerator of the scale alpha / r (AdaptSR, Eq. 1).
        seed: Seed of the initial A factors.

    Raises:
        ArtifactError: A rank is larger than the site allows.
    """
    model.requires_grad_(False)
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    by_module: dict[str, list[tuple[Site, LowRankFactors]]] = {}
    for site, rank in plan:
        if rank == 0:
            continue
        if rank > site.max_rank:
            raise ArtifactError(
                f"rank {rank} at {site.name} would be larger than the weight it adapts",
                f"the largest rank there is {site.max_rank}",
            )
        factors = LowRankFactors(site, rank, alpha)
        factors.reset(generator)
        by_module.setdefault(site.module, []).append((site, factors.to(device)))
    for name, parts in by_module.items():
        parts.sort(key=lambda part: part[0].rows or (0, 0))
        update = LowRankUpdate([(site.rows, factors) for site, factors in parts])
        # The shape checks of torch would run the update once more; ours are above.
        parametrize.register_parametrization(model.get_submodule(name), "weight", update, unsafe=True)
    factors_by_site = {site.name: factors for parts in by_module.values() for site, factors in parts}
    ordered = {site.name: factors_by_site[site.name] for site, rank in plan if rank > 0}
    return Attachment(model, ordered, tuple(by_module))


def fold(attachment: Attachment) -> None:
    """Leaves W0 + delta in the weights and removes the adapters; the network is plain again."""
    for name in attachment.modules:
        module = attachment.model.get_submodule(name)
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
        module.weight.requires_grad_(False)


def detach(attachment: Attachment) -> None:
    """Removes the adapters and leaves the network as it was before `attach`."""
    for name in attachment.modules:
        module = attachment.model.get_submodule(name)
        parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
