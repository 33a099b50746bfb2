"""Attachment of adapters to a network: putting them on, loading and saving their tensors, folding them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from adaptsr_cli.adapters.methods import METHODS, list_methods, validate_method_options
from adaptsr_cli.adapters.sites import Site
from adaptsr_cli.adapters.spec import AdaptedRows, AdapterPlacement, AdapterSpec, Attribute, SiteAdapter
from adaptsr_cli.artifacts.base import Factorization, LoraInit, LoraScaling, Method
from adaptsr_cli.errors import ArtifactError, UsageError


@dataclass(frozen=True)
class Attachment:
    """The adapters on one network.

    Attributes:
        model: The network that carries them.
        adapters: Adapters by site name, in the order of the plan, after the modules that they share.
        places: (module, attribute) of every tensor that is parametrized.
    """

    model: nn.Module
    adapters: Mapping[str, nn.Module]
    places: tuple[tuple[str, Attribute], ...]

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over all trainable parameters, in a fixed order."""
        for _, tensor in self._named():
            if isinstance(tensor, nn.Parameter):
                yield tensor

    def is_finite(self) -> bool:
        """Whether all trainable parameters are finite; waits for the device once."""
        return bool(torch.stack([parameter.detach().isfinite().all() for parameter in self.parameters()]).all())

    def parameter_groups(self, ratio: float) -> list[dict[str, Any]]:
        """Group the parameters for an optimiser; ``ratio`` is the factor of a group's learning rate.

        Args:
            ratio: Factor of the B factors, which start at zero (LoRA+, Hayou et al. 2024); 1 puts all in one group.

        Raises:
            UsageError: The ratio is not 1, and the method has no such factors.
        """
        if ratio == 1:
            return [{"params": list(self.parameters()), "ratio": 1.0}]
        fast = [tensor for name, tensor in self._named() if name.endswith(".lora_B")]
        if not fast:
            able = list_methods(spec for spec in METHODS.values() if spec.is_low_rank)
            raise UsageError("`lora_plus` is for methods with low-rank factors", f"of `method` these are {able}")
        known = {id(tensor) for tensor in fast}
        slow = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return [
            {"params": slow, "ratio": 1.0},
            {"params": fast, "ratio": ratio},
        ]

    @property
    def params(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def changed(self) -> tuple[str, ...]:
        """Full names of the network's tensors that are adapted."""
        return tuple(f"{module}.{attribute}" for module, attribute in self.places)

    def state(self) -> dict[str, Tensor]:
        """Copy the tensors to the CPU, named ``SITE.lora_A`` and the like; fp32, and int64 for indices."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self._named()}

    def load(self, state: Mapping[str, Tensor], place: str) -> None:
        """Load tensors, strictly.

        Args:
            state: Named and shaped as by `state`.
            place: Where they came from, for the message.

        Raises:
            ArtifactError: A tensor is missing, left over, of another shape or dtype, not finite, or of values that the
                method cannot have.
        """
        expected = dict(self._named())
        missing = [name for name in expected if name not in state]
        extra = [name for name in state if name not in expected]
        if missing or extra:
            what = f"lacks {missing[0]}" if missing else f"has an unexpected tensor {extra[0]}"
            more = len(missing) + len(extra) - 1
            raise ArtifactError(f"{place} {what}" + (f" (and {more} more)" if more else ""), "train the adapter again")
        for name, parameter in expected.items():
            tensor = state[name]
            if tensor.shape != parameter.shape or tensor.is_floating_point() != parameter.is_floating_point():
                raise ArtifactError(
                    f"{place}: {name} has shape {tuple(tensor.shape)} of {tensor.dtype}, expected "
                    f"{tuple(parameter.shape)} of {parameter.dtype}",
                    "train the adapter again",
                )
            if not torch.isfinite(tensor).all():
                raise ArtifactError(f"{place}: {name} has values that are not finite", "train the adapter again")
            with torch.no_grad():
                parameter.copy_(tensor)
        for adapter in self.adapters.values():
            if isinstance(adapter, SiteAdapter):
                adapter.check(place)

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """Run the network without its adapters within this block; they stay attached."""
        updates = [module for module in self.model.modules() if isinstance(module, AdaptedRows)]
        for update in updates:
            update.active = False
        try:
            yield
        finally:
            for update in updates:
                update.active = True

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        """Iterate over parameters and buffers; a shared one comes once, under its own name."""
        seen: set[int] = set()
        for prefix, adapter in self.adapters.items():
            for name, tensor in (*adapter.named_parameters(), *adapter.named_buffers()):
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield f"{prefix}.{name}", tensor


def attach(
    model: nn.Module,
    plan: Sequence[tuple[Site, int]],
    *,
    alpha: float,
    seed: int = 0,
    method: Method = "lora",
    lora_scaling: LoraScaling = "alpha/r",
    factorization: Factorization = "1x1-kxk",
    principal: bool = False,
    directions: Mapping[str, Tensor] | None = None,
    entries: Mapping[str, Tensor] | None = None,
) -> Attachment:
    """Freeze a network and put adapters on it.

    Args:
        model: The network; its own parameters stop requiring gradients.
        plan: Sites with their ranks, which say what may be spent there; a rank of 0 attaches nothing.
        alpha: Numerator of the scaling of low-rank updates (AdaptSR, Eq. 1).
        seed: Seed of the random initial values.
        method: The method of adaptation.
        lora_scaling: The rule for the scaling of low-rank updates.
        factorization: Of low-rank updates of convolutions.
        principal: Low-rank factors start at the leading part of the weight (PiSSA).
        directions: (k, in) first rows of the A factors by site name; None for random ones.
        entries: Which entries a sparse update has: (count,) places in the flattened weight by site name; None for those
            of the largest magnitude.

    Raises:
        ArtifactError: A rank is larger than the site allows, the method finds nothing to adapt, or the entries are not
                those of the plan.
        UsageError: The method does not obey one of the options.
    """
    init: LoraInit = "pissa" if principal else "default" if directions is None else "gradient"
    validate_method_options(method, init, factorization, "magnitude" if entries is None else "random")
    model.requires_grad_(False)
    device = next(model.parameters()).device
    for site, rank in plan:
        if rank > site.max_rank:
            raise ArtifactError(
                f"rank {rank} at {site.name} would be larger than the weight it adapts",
                f"the largest rank there is {site.max_rank}",
            )
    wanted = tuple((site, rank) for site, rank in plan if rank > 0)
    spec = AdapterSpec(
        model=model,
        plan=wanted,
        alpha=alpha,
        lora_scaling=lora_scaling,
        generator=torch.Generator().manual_seed(seed),
        factorization=factorization,
        principal=principal,
        directions=directions,
        entries=entries,
    )
    layout = METHODS[method].place(spec)
    by_module: dict[str, list[AdapterPlacement]] = {}
    for placement in layout.placements:
        placement.adapter.to(device)
        by_module.setdefault(placement.module, []).append(placement)
    places: list[tuple[str, Attribute]] = []
    for name, placements in by_module.items():
        module = model.get_submodule(name)
        placements.sort(key=lambda placement: placement.rows or (0, 0))
        for attribute in ("weight", "bias"):
            parts = [(entry.rows, entry.adapter) for entry in placements if attribute in entry.adapter.changes]
            if parts and isinstance(getattr(module, attribute, None), Tensor):
                # The shape checks of torch would run the update once more; ours are above.
                parametrize.register_parametrization(module, attribute, AdaptedRows(attribute, parts), unsafe=True)
                places.append((name, attribute))
    adapters = {**layout.shared, **{placement.name: placement.adapter for placement in layout.placements}}
    return Attachment(model, adapters, tuple(places))


def fold(attachment: Attachment) -> None:
    """Fold the adapters in: the tensors keep the adapted values, and the network is plain again."""
    for name, attribute in attachment.places:
        module = attachment.model.get_submodule(name)
        parametrize.remove_parametrizations(module, attribute, leave_parametrized=True)
        getattr(module, attribute).requires_grad_(False)


def detach(attachment: Attachment) -> None:
    """Remove the adapters and leave the network as it was before `attach`."""
    for name, attribute in attachment.places:
        module = attachment.model.get_submodule(name)
        parametrize.remove_parametrizations(module, attribute, leave_parametrized=False)
