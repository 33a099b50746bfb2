"""How strong the outputs of the layers are: the activation criterion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from adaptsr_cli.adapters.sites import Site


class ActivationMeter:
    """The root mean square of every site's output, since it was last read."""

    def __init__(self, sites: Sequence[Site], device: torch.device) -> None:
        self._sites = sites
        self._device = device
        self._sums: dict[str, tuple[Tensor, int]] = {}

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Every forward pass within this block is measured."""
        names = {site.module for site in self._sites}
        handles = [model.get_submodule(name).register_forward_hook(self._hook(name)) for name in names]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def read(self) -> Tensor:
        """(sites,) fp32; 0 for a layer that was not called as a module. Starts anew."""
        values = torch.zeros(len(self._sites), device=self._device)
        for index, site in enumerate(self._sites):
            if site.module in self._sums:
                sums, count = self._sums[site.module]
                rows = sums if site.rows is None else sums[site.rows[0] : site.rows[1]]
                values[index] = (rows.sum() / (count * len(rows))).sqrt()
        self._sums.clear()
        return values

    def _hook(self, name: str) -> Any:
        def add(module: nn.Module, _inputs: object, output: Tensor) -> None:
            channels_at = 1 if isinstance(module, nn.Conv2d) else output.dim() - 1
            rows = output.detach().float().movedim(channels_at, 0).flatten(1)  # (out, everything else)
            sums, count = self._sums.get(name, (torch.zeros(len(rows), device=rows.device), 0))
            self._sums[name] = (sums + rows.square().sum(dim=1), count + rows.shape[1])

        return add
