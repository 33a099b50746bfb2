"""The energy that a device takes, where it counts it itself; the only door to NVML."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import torch

_POWERCAP: Final = Path("/sys/class/powercap")


@dataclass
class _Counter:
    """A counter of energy that only ever rises, but may start again from 0.

    Attributes:
        read_uj: Its present value in microjoules.
        range_uj: The value after which it starts again from 0; None: never.
        last_uj: Its value when it was read last.
    """

    read_uj: Callable[[], int]
    range_uj: int | None
    last_uj: int

    def advance_uj(self) -> int:
        """Microjoules since the last call."""
        now_uj = self.read_uj()
        taken_uj = now_uj - self.last_uj
        if taken_uj < 0:
            if self.range_uj is None:
                raise ValueError("the counter has fallen back")
            taken_uj += self.range_uj
        self.last_uj = now_uj
        return taken_uj


class EnergyMeter:
    """Counts the joules of a device, by the device's own counter.

    * A CUDA device: the whole board, by NVML (Volta and later report it).
    * The CPU: all processor packages and the memory on their controllers, by Linux' RAPL, which many systems let only
      root read.

    The counters know no processes: what others do on the device at the same time is counted as well. RAPL's start
    again from 0 after 65 to 262 kJ, minutes to an hour under load: call `joules` more often than that, since two turns
    look like one.

    Args:
        device: What is measured.
        powercap: Where Linux shows RAPL.
    """

    def __init__(self, device: torch.device, powercap: Path = _POWERCAP) -> None:
        self._device = device
        self._powercap = powercap
        self._counters: list[_Counter] = []
        self._shut_down: Callable[[], None] | None = None
        self._taken_uj = 0

    def start(self) -> None:
        """Starts counting, from 0."""
        self.close()
        self._taken_uj = 0
        if self._device.type == "cuda":
            self._counters, self._shut_down = _cuda_counters(self._device)
        elif self._device.type == "cpu":
            self._counters = _package_counters(self._powercap)

    def joules(self) -> float | None:
        """Joules since `start`; None where the device does not report them, or has stopped to."""
        if not self._counters:
            return None
        try:
            self._taken_uj += sum(counter.advance_uj() for counter in self._counters)
        except (OSError, ValueError):
            self.close()
            return None
        return self._taken_uj / 1e6

    def close(self) -> None:
        """Lets go of the counters; `joules` is None from here on."""
        self._counters = []
        if self._shut_down is not None:
            self._shut_down()
            self._shut_down = None


def _cuda_counters(device: torch.device) -> tuple[list[_Counter], Callable[[], None] | None]:
    """The counter of a CUDA device and what closes NVML; nothing where the driver has none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return [], None
    try:
        # By its id, since CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER give CUDA's devices other numbers than NVML's.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")

    except pynvml.NVMLError:
        pynvml.nvmlShutdown()
        return [], None

    def read_uj() -> int:
        try:
            return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * 1000  # it counts millijoules
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from error

    try:
        return [_Counter(read_uj, None, read_uj())], pynvml.nvmlShutdown
    except OSError:
        pynvml.nvmlShutdown()
        return [], None


def _package_counters(powercap: Path) -> list[_Counter]:
    """The counters of all processor packages and of their memory; nothing where one of them cannot be read."""
    counters = []
    try:
        for zone in sorted(powercap.glob("intel-rapl:*")):
            # The other zones are parts of a package (core, uncore) or hold several of them (psys).
            if (zone / "name").read_text(encoding="ascii").strip().startswith(("package", "dram")):
                read_uj = partial(_read_number, zone / "energy_uj")
                counters.append(_Counter(read_uj, _read_number(zone / "max_energy_range_uj"), read_uj()))
    except (OSError, ValueError):
        return []
    return counters


def _read_number(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))
