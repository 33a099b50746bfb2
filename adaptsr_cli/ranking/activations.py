"""Root mean square of the outputs of the layers, for the activation criterion."""

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
        self._squares = torch.zeros(len(sites), device=device)
        self._counts = [0] * len(sites)

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Measure every forward pass within this block."""
        places: dict[str, list[int]] = {}
        for index, site in enumerate(self._sites):
            places.setdefault(site.module, []).append(index)
        handles = [
            model.get_submodule(name).register_forward_hook(self._hook(indices)) for name, indices in places.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def read(self) -> Tensor:
        """Return the measured values, (sites,) fp32, and start again; 0 for a layer that was not called as a module."""
        counts = torch.tensor(self._counts, device=self._squares.device).clamp_min(1)
        values = (self._squares / counts).sqrt()
        self._squares.zero_()
        self._counts = [0] * len(self._sites)
        return values

    def _hook(self, indices: Sequence[int]) -> Any:
        def add(module: nn.Module, _inputs: object, output: Tensor) -> None:
            channels_at = 1 if isinstance(module, nn.Conv2d) else output.dim() - 1
            for index in indices:
                rows = self._sites[index].rows or (0, output.shape[channels_at])
                part = output.detach().narrow(channels_at, rows[0], rows[1] - rows[0])
                # vector_norm reads the activations in place; their squares would be another array of their size.
                self._squares[index] += torch.linalg.vector_norm(part, dtype=torch.float32).square()
                self._counts[index] += part.numel()

        return add
