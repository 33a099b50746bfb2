"""The energy meter, against a fake driver."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from adaptsr_cli.energy import EnergyMeter


class FakeError(Exception):
    """What the fake driver raises."""


@dataclass
class FakeNvml:
    """A driver with two boards, as the module `pynvml` shows it."""

    energy_mj: dict[str, int] = field(default_factory=lambda: {"GPU-aa-1": 1_000, "GPU-bb-2": 500_000})
    broken: str = ""
    sessions: int = 0
    NVMLError: type[Exception] = FakeError

    def _require(self, call: str) -> None:
        if self.broken == call:
            raise self.NVMLError("Not Supported")

    def nvmlInit(self) -> None:
        self._require("init")
        self.sessions += 1

    def nvmlShutdown(self) -> None:
        self.sessions -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self._require("handle")
        assert uuid in self.energy_mj
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        assert self.sessions == 1
        self._require("energy")
        return self.energy_mj[handle]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """Two boards; CUDA_VISIBLE_DEVICES has made the driver's second one CUDA's first."""
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    uuids = ["bb-2", "aa-1"]
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=uuids[torch.device(device).index or 0])
    )
    return fake


def test_the_board_is_found_by_its_id(nvml: FakeNvml) -> None:
    meter = EnergyMeter(torch.device("cuda", 0))
    meter.start()
    nvml.energy_mj["GPU-bb-2"] += 1_250
    nvml.energy_mj["GPU-aa-1"] += 77_000
    assert meter.joules() == 1.25
    nvml.energy_mj["GPU-bb-2"] += 250
    assert meter.joules() == 1.5


def test_the_driver_is_closed_as_often_as_it_is_opened(nvml: FakeNvml) -> None:
    meter = EnergyMeter(torch.device("cuda", 1))
    meter.start()
    meter.start()
    assert nvml.sessions == 1
    meter.close()
    meter.close()
    assert nvml.sessions == 0


@pytest.mark.parametrize("call", ["init", "handle", "energy"])
def test_a_board_that_does_not_report_is_none(nvml: FakeNvml, call: str) -> None:
    nvml.broken = call
    meter = EnergyMeter(torch.device("cuda", 0))
    meter.start()
    assert meter.joules() is None
    assert nvml.sessions == 0


@pytest.mark.parametrize("fault", ["lost", "fallen back"])
def test_a_board_that_stops_reporting_is_none_from_then_on(nvml: FakeNvml, fault: str) -> None:
    meter = EnergyMeter(torch.device("cuda", 0))
    meter.start()
    assert meter.joules() == 0
    if fault == "lost":
        nvml.broken = "energy"
    else:
        nvml.energy_mj["GPU-bb-2"] = 3
    assert meter.joules() is None
    assert nvml.sessions == 0
    nvml.broken = ""
    assert meter.joules() is None


@pytest.mark.parametrize("kind", ["cpu", "meta"])
def test_other_devices_are_none(kind: str, nvml: FakeNvml) -> None:
    meter = EnergyMeter(torch.device(kind))
    assert meter.joules() is None
    meter.start()
    assert meter.joules() is None
    assert nvml.sessions == 0


def test_start_begins_anew(nvml: FakeNvml) -> None:
    meter = EnergyMeter(torch.device("cuda", 0))
    meter.start()
    nvml.energy_mj["GPU-bb-2"] += 4_000
    assert meter.joules() == 4
    meter.start()
    nvml.energy_mj["GPU-bb-2"] += 3_000
    assert meter.joules() == 3
    meter.close()
    assert meter.joules() is None


def test_without_the_package_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter = EnergyMeter(torch.device("cuda", 0))
    meter.start()
    assert meter.joules() is None


@pytest.mark.gpu
def test_a_real_board_counts_up() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    meter = EnergyMeter(device)
    meter.start()
    if meter.joules() is None:
        pytest.skip("this device does not report its energy")
    first = torch.rand(4096, 4096, device=device)
    for _ in range(200):
        first = first @ first / first.norm()
    torch.cuda.synchronize(device)
    assert (meter.joules() or 0) > 0
    meter.close()
