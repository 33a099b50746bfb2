"""The energy meter, against a fake driver and a fake tree of counters."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from adaptsr_cli.energy import EnergyMeter

CPU = torch.device("cpu")


def write_zone(powercap: Path, zone: str, name: str, energy_uj: int, range_uj: int = 1_000_000_000) -> Path:
    folder = powercap / zone
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    return folder / "energy_uj"


def test_packages_and_their_memory_are_counted_once(tmp_path: Path) -> None:
    zones = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
    }
    paths = {zone: write_zone(tmp_path, zone, name, 5_000_000) for zone, name in zones.items()}
    meter = EnergyMeter(CPU, tmp_path)
    meter.start()
    assert meter.joules() == 0
    added_j = {"intel-rapl:0": 10, "intel-rapl:0:0": 200, "intel-rapl:0:1": 3, "intel-rapl:1": 20, "intel-rapl:2": 500}
    for zone, joules in added_j.items():
        paths[zone].write_text(f"{5_000_000 + joules * 1_000_000}\n")
    assert meter.joules() == pytest.approx(33)
    assert meter.joules() == pytest.approx(33)


def test_a_counter_that_starts_again_from_0_goes_on(tmp_path: Path) -> None:
    counter = write_zone(tmp_path, "intel-rapl:0", "package-0", 90_000_000, range_uj=100_000_000)
    meter = EnergyMeter(CPU, tmp_path)
    meter.start()
    for value_uj in (99_000_000, 5_000_000, 50_000_000, 2_000_000):
        counter.write_text(str(value_uj))
        joules = meter.joules()
    assert joules == pytest.approx(9 + 6 + 45 + 52)


def test_start_begins_anew(tmp_path: Path) -> None:
    counter = write_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter(CPU, tmp_path)
    meter.start()
    counter.write_text("4000000")
    assert meter.joules() == 4
    meter.start()
    counter.write_text("7000000")
    assert meter.joules() == 3
    meter.close()
    assert meter.joules() is None


def test_no_counter_is_none(tmp_path: Path) -> None:
    meter = EnergyMeter(CPU, tmp_path / "nowhere")
    assert meter.joules() is None
    meter.start()
    assert meter.joules() is None


def test_counters_for_root_only_are_none_and_not_a_part_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    closed = write_zone(tmp_path, "intel-rapl:1", "package-1", 0)
    read_text = Path.read_text

    def refuse(path: Path, **options: str) -> str:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    meter = EnergyMeter(CPU, tmp_path)
    meter.start()
    assert meter.joules() is None


@pytest.mark.parametrize("fault", ["gone", "rubbish"])
def test_a_counter_that_breaks_is_none_from_then_on(tmp_path: Path, fault: str) -> None:
    counter = write_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = EnergyMeter(CPU, tmp_path)
    meter.start()
    assert meter.joules() == 0
    if fault == "gone":
        counter.unlink()
    else:
        counter.write_text("?")
    assert meter.joules() is None
    counter.write_text("1000000")
    assert meter.joules() is None


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


def test_other_devices_are_none() -> None:
    meter = EnergyMeter(torch.device("meta"))
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
