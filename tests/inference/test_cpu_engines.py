"""Engines beside torch: the same pixels, conversions kept and rebuilt, and one engine for all of an image."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from networks import save_tiny
from torch import Tensor

from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.loader import load_backbone
from adaptsr_cli.backbones.openvino_model import OpenVinoModel
from adaptsr_cli.errors import CheckpointError, EngineError, UsageError
from adaptsr_cli.inference import conversions, cpu_engines
from adaptsr_cli.inference.conversions import EngineName, Pace
from adaptsr_cli.inference.cpu_engines import CpuEngines
from adaptsr_cli.inference.engine import Upscaler
from adaptsr_cli.io.cached_parts import read_parts, write_parts

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPTSR_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


def load(name: str, folder: Path) -> Backbone:
    return load_backbone(save_tiny(name, folder / f"{name}.safetensors"))


def photo(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (128 + 100 * np.stack([np.sin(rows / 5), np.cos(columns / 7), np.sin((rows + columns) / 9)], 2)).astype("u1")


def open_with(backbone: Backbone, wanted: Literal["auto"] | EngineName, **options: object) -> Upscaler:
    engines = CpuEngines(backbone, wanted, lambda text: None)
    return Upscaler(backbone, device=CPU, engines=engines, tile_px=24, pad_px=8, **options)  # type: ignore[arg-type]


def apart(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first - second).max())


# The tiny SPAN's random weights give values far beyond the range, of the largest of which 1e-4 counts.
@pytest.mark.parametrize(
    ("name", "most"), [("safmn", 1e-4), ("span", 1e-3), pytest.param("swinir", 1e-4, marks=pytest.mark.slow)]
)
def test_openvino_gives_what_torch_gives_and_is_converted_once(
    name: str, most: float, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, lr = load(name, tmp_path), photo(61, 75)
    expected = Upscaler(backbone, device=CPU, tile_px=24, pad_px=8).run(lr)
    upscaler = open_with(backbone, "openvino")
    assert apart(upscaler.run(lr), expected) < most
    assert upscaler.engines is not None
    assert (upscaler.engines.used, upscaler.engines.remarks) == ({"openvino"}, [])
    assert len(list(cache.iterdir())) == 1

    # Another process finds it.
    monkeypatch.setattr(OpenVinoModel, "convert", lambda *_: pytest.fail("converted again"))
    again = open_with(load(name, tmp_path), "openvino").run(lr)
    assert apart(again, expected) < most


def test_a_damaged_conversion_is_made_again(tmp_path: Path, cache: Path) -> None:
    name, lr = "edsr_basicsr_x2", photo(24, 24)
    expected = open_with(load(name, tmp_path), "openvino").run(lr)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    assert read_parts(kept) is None
    assert apart(open_with(load(name, tmp_path), "openvino").run(lr), expected) < 1e-6
    assert read_parts(kept) is not None


def test_onnxruntime_gives_what_torch_gives(tmp_path: Path) -> None:
    backbone, lr = load("edsr_basicsr_x2", tmp_path), photo(40, 40)
    upscaler = open_with(backbone, "onnxruntime")
    assert apart(upscaler.run(lr), Upscaler(backbone, device=CPU, tile_px=24, pad_px=8).run(lr)) < 1e-4
    assert upscaler.engines is not None
    assert upscaler.engines.used == {"onnxruntime"}


def test_other_weights_and_shapes_have_conversions_of_their_own(tmp_path: Path, cache: Path) -> None:
    backbone = load("edsr_basicsr_x2", tmp_path)
    open_with(backbone, "openvino").run(photo(20, 20))
    open_with(backbone, "openvino").run(photo(20, 22))
    with torch.no_grad():
        next(backbone.model.parameters()).mul_(1.5)
    changed = open_with(backbone, "openvino").run(photo(20, 20))
    assert len(list(cache.iterdir())) == 3
    assert apart(changed, Upscaler(backbone, device=CPU).run(photo(20, 20))) < 1e-4


def test_the_ensemble_turns_tiles_that_are_not_square(tmp_path: Path) -> None:
    backbone, lr = load("edsr_basicsr_x2", tmp_path), photo(24, 32)
    found = open_with(backbone, "openvino", ensemble=True).run(lr)
    assert apart(found, Upscaler(backbone, device=CPU, ensemble=True).run(lr)) < 1e-4


def test_a_conversion_that_differs_leaves_the_work_to_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, lr = load("edsr_basicsr_x2", tmp_path), photo(24, 24)
    run = OpenVinoModel.run
    monkeypatch.setattr(OpenVinoModel, "run", lambda model, lr: run(model, lr) + 1)
    upscaler = open_with(backbone, "openvino")
    assert np.array_equal(upscaler.run(lr), Upscaler(backbone, device=CPU).run(lr))
    assert upscaler.engines is not None
    assert upscaler.engines.used == {"torch"}
    (remark,) = upscaler.engines.remarks
    assert remark.startswith("openvino differs from torch by ")
    assert remark.endswith(" on a tile of 24x24 px, more than 1e-04: torch runs these")


def test_a_network_that_cannot_be_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise CheckpointError("OpenVINO cannot convert it: no rule for aten::novelty")

    monkeypatch.setattr(OpenVinoModel, "convert", refuse)
    backbone, lr = load("edsr_basicsr_x2", tmp_path), photo(24, 24)
    with pytest.raises(EngineError, match="openvino cannot run this EDSR: OpenVINO cannot convert it") as caught:
        open_with(backbone, "openvino").run(lr)
    assert "engine" in caught.value.hint
    monkeypatch.setattr(cpu_engines, "_WORTH_S", 0.0)
    monkeypatch.setattr(cpu_engines, "_WORTH_TILES", 0)
    upscaler = open_with(backbone, "auto")
    assert np.array_equal(upscaler.run(lr), Upscaler(backbone, device=CPU).run(lr))
    assert upscaler.engines is not None
    assert "novelty: torch goes on" in upscaler.engines.remarks[0]


def test_a_missing_package_is_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load("edsr_basicsr_x2", tmp_path)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match="openvino is not installed") as caught:
        CpuEngines(backbone, "openvino", print)
    assert caught.value.hint == "pip install 'adaptsr[openvino]'"
    monkeypatch.setattr(cpu_engines, "is_installed", lambda name: False)
    upscaler = open_with(backbone, "auto")
    upscaler.run(photo(24, 24))
    assert upscaler.engines is not None
    assert upscaler.engines.used == {"torch"}


@pytest.mark.parametrize(("torch_s", "engine_s", "used"), [(9.0, 3.0, "openvino"), (3.0, 9.0, "torch")])
def test_auto_takes_what_was_measured_faster_and_remembers_it(
    torch_s: float, engine_s: float, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, lr = load("edsr_basicsr_x2", tmp_path), photo(61, 75)
    times = iter([torch_s, torch_s, engine_s, engine_s, 0.1])
    monkeypatch.setattr(cpu_engines, "_seconds", lambda run: (run(), next(times))[1])
    for name in ("_WORTH_S", "_WORTH_TILES"):
        monkeypatch.setattr(cpu_engines, name, 0)
    seen: list[set[str]] = []
    first, again = open_with(backbone, "auto"), open_with(backbone, "auto")
    for upscaler in (first, again):  # the second does not measure: `times` is at its end
        assert upscaler.engines is not None
        upscaler.run(lr)
        seen.append(upscaler.engines.used)
    assert seen == [{used}, {used}]  # all tiles of the image
    assert len(first.engines.remarks) == 1  # type: ignore[union-attr]
    assert again.engines.remarks == []  # type: ignore[union-attr]


def test_auto_leaves_little_work_to_torch(tmp_path: Path, cache: Path) -> None:
    upscaler = open_with(load("edsr_basicsr_x2", tmp_path), "auto")
    upscaler.run(photo(61, 75))
    assert upscaler.engines is not None
    assert (upscaler.engines.used, cache.exists()) == ({"torch"}, False)


def test_a_known_engine_is_opened_once_it_saves_what_opening_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, lr = load("edsr_basicsr_x2", tmp_path), photo(24, 24)
    monkeypatch.setattr(cpu_engines, "has_conversions", lambda: True)
    monkeypatch.setattr(conversions.Conversions, "recall_pace", lambda *_: Pace(3.0, 2.0, 2.5))
    upscaler = open_with(backbone, "auto")
    assert upscaler.engines is not None
    used: list[str] = []
    for _ in range(4):
        upscaler.engines.used.clear()
        upscaler.run(lr)
        used += upscaler.engines.used
    assert used == ["torch", "torch", "openvino", "openvino"]


def test_parts_are_checked_and_the_oldest_make_room(tmp_path: Path) -> None:
    files = [tmp_path / f"{index}.parts" for index in range(3)]
    for index, file in enumerate(files):
        write_parts(file, {"a": bytes([index]) * 1000, "b": b""}, limit_bytes=2400)
        os.utime(file, (index, index))
    assert read_parts(files[0]) is None
    assert read_parts(files[2]) == {"a": b"\2" * 1000, "b": b""}
    damaged = bytearray(files[2].read_bytes())
    damaged[500] ^= 1
    files[2].write_bytes(damaged)
    assert read_parts(files[2]) is None
    files[2].write_bytes(b"")
    assert read_parts(files[2]) is None


def test_a_result_that_is_not_finite_is_computed_by_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, lr = load("edsr_basicsr_x2", tmp_path), photo(24, 24)
    upscaler = open_with(backbone, "openvino")
    expected = upscaler.run(lr)

    def fail(model: OpenVinoModel, lr: Tensor) -> Tensor:
        return torch.full((1, 3, 48, 48), float("nan"))

    monkeypatch.setattr(OpenVinoModel, "run", fail)
    assert apart(upscaler.run(lr), expected) < 1e-4


def test_ctrl_c_is_heard_when_a_network_is_closed(tmp_path: Path) -> None:
    """In a process of its own, which a fault would end."""
    lines = [
        "import gc, signal, sys, torch",
        "from pathlib import Path",
        "from adaptsr_cli.backbones.loader import load_backbone",
        "from adaptsr_cli.backbones.openvino_model import OpenVinoModel",
        "network = load_backbone(Path(sys.argv[1])).model",
        "for lr in (torch.rand(1, 3, 24, 32), torch.rand(1, 3, 32, 24)):",
        "    opened = OpenVinoModel.convert(network, lr)",
        "    sr = opened.run(lr)",
        "del opened, sr",
        "gc.collect()",
        "signal.signal(signal.SIGINT, lambda number, frame: print('heard'))",
        "signal.raise_signal(signal.SIGINT)",
    ]
    file = save_tiny("edsr_basicsr_x2", tmp_path / "net.pth")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), str(file)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
