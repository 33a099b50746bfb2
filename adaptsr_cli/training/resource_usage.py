"""Resource usage of a training: time, waiting for data, memory, energy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self, TypedDict

import torch

from adaptsr_cli.artifacts.train_state import LoopState
from adaptsr_cli.energy import EnergyMeter
from adaptsr_cli.runtime import peak_host_memory_bytes, peak_memory_bytes, reset_peak_memory


class WaitingSource(Protocol):
    """A source of batches that counts how long its caller has waited."""

    @property
    def waited_s(self) -> float:
        """Seconds, since it was made."""


class Totals(TypedDict):
    """Usage fields of a `LoopState` besides its time."""

    waited_s: float
    energy_j: float | None
    peak_device_bytes: int | None
    peak_host_bytes: int | None


class ResourceUsage:
    """Resource usage over all sittings of a run, the present one included.

    Args:
        earlier: The state in which the sitting begins.
        source: Where the batches come from.
        device: What is used.
    """

    def __init__(self, earlier: LoopState, source: WaitingSource, device: torch.device) -> None:
        self._earlier = earlier
        self._source = source
        self._device = device
        self._meter = EnergyMeter(device)
        self._begin = time.perf_counter()
        self._not_counted_s = 0.0

    def __enter__(self) -> Self:
        reset_peak_memory(self._device)
        self._meter.start()
        self._begin = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._meter.close()

    @contextmanager
    def not_counted(self) -> Iterator[None]:
        """Leave the time of this block out of `counted_s`."""
        begin = time.perf_counter()
        yield
        self._not_counted_s += time.perf_counter() - begin

    @property
    def counted_s(self) -> float:
        """Seconds of this sitting, those of `not_counted` left out."""
        return time.perf_counter() - self._begin - self._not_counted_s

    @property
    def elapsed_s(self) -> float:
        """Seconds over all sittings until now."""
        return self._earlier.elapsed_s + time.perf_counter() - self._begin

    def totals(self) -> Totals:
        """Everything else over all sittings until now."""
        taken_j, earlier = self._meter.joules(), self._earlier
        known = taken_j is not None and earlier.energy_j is not None
        return Totals(
            waited_s=earlier.waited_s + self._source.waited_s,
            energy_j=(earlier.energy_j or 0.0) + (taken_j or 0.0) if known else None,
            peak_device_bytes=_most(earlier.peak_device_bytes, peak_memory_bytes(self._device)),
            peak_host_bytes=_most(earlier.peak_host_bytes, peak_host_memory_bytes()),
        )


def _most(first: int | None, second: int | None) -> int | None:
    return max((value for value in (first, second) if value is not None), default=None)
