"""Reading any checkpoint safely: wrappers, settings beside the weights, and files that are no models."""

from __future__ import annotations

import argparse
import collections
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from adaptsr_cli.errors import CheckpointError
from adaptsr_cli.io.checkpoints import read_checkpoint, read_checkpoint_file
from adaptsr_cli.io.tensors import write_pth, write_tensors

STATE = {"body.weight": torch.arange(6.0).reshape(2, 3), "body.bias": torch.tensor([1.0, 2.0])}


@pytest.mark.parametrize(
    ("content", "wrapper"),
    [
        (STATE, None),
        ({"params": STATE}, "params"),
        ({"state_dict": STATE, "epoch": 3, "best": 31.5}, "state_dict"),
        ({"model": {"state_dict": STATE}}, "model.state_dict"),
        ({"whatever": STATE}, "whatever"),
        ({**STATE, "epoch": 3}, None),
    ],
)
def test_weights_are_found_in_every_wrapper(tmp_path: Path, content: dict[str, object], wrapper: str | None) -> None:
    write_pth(tmp_path / "m.pth", content)
    checkpoint = read_checkpoint(tmp_path / "m.pth")
    assert checkpoint.wrapper == wrapper
    assert list(checkpoint.tensors) == ["body.weight", "body.bias"]
    assert torch.equal(checkpoint.tensors["body.weight"], STATE["body.weight"])
    assert checkpoint.container == "pth"


def test_the_moving_average_is_preferred(tmp_path: Path) -> None:
    average = {name: tensor + 1 for name, tensor in STATE.items()}
    write_pth(tmp_path / "m.pth", {"params": STATE, "params_ema": average})
    checkpoint = read_checkpoint(tmp_path / "m.pth")
    assert checkpoint.wrapper == "params_ema"
    assert torch.equal(checkpoint.tensors["body.bias"], average["body.bias"])


def test_suffixes_and_old_pickles_are_read(tmp_path: Path) -> None:
    for suffix in (".pt", ".ckpt", ".PTH"):
        write_pth(tmp_path / f"m{suffix}", STATE)
        assert len(read_checkpoint(tmp_path / f"m{suffix}").tensors) == 2
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_checkpoint(tmp_path / "old.pth").tensors["body.weight"], STATE["body.weight"])


def test_safetensors_are_read_with_their_metadata(tmp_path: Path) -> None:
    write_tensors(tmp_path / "m.safetensors", STATE, {"note": "ü"})
    checkpoint = read_checkpoint(tmp_path / "m.safetensors")
    assert (checkpoint.container, checkpoint.metadata) == ("safetensors", {"note": "ü"})
    assert torch.equal(checkpoint.tensors["body.weight"], STATE["body.weight"])


class Payload:
    """Something whose unpickling would run code."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path(self.proof),)  # type: ignore[return-value]


def test_an_unsafe_pickle_is_explained_and_not_run(tmp_path: Path) -> None:
    torch.save({"params": STATE, "evil": Payload(tmp_path / "proof")}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match="more than weights") as caught:
        read_checkpoint(tmp_path / "evil.pth")
    assert "torch.save" in caught.value.hint
    assert not (tmp_path / "proof").exists()


class Settings(dict[str, object]):
    """A mapping of a trainer's own class, as its pickle says."""


Settings.__module__, Settings.__qualname__ = "lightning_fabric.utilities.data", "AttributeDict"


@pytest.mark.parametrize("old", [False, True])
def test_settings_beside_the_weights_are_not_read(tmp_path: Path, old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType(Settings.__module__)
    module.AttributeDict = Settings  # type: ignore[attr-defined]
    for name in ("lightning_fabric", "lightning_fabric.utilities", Settings.__module__):
        monkeypatch.setitem(sys.modules, name, module)
    content = {
        "args": argparse.Namespace(lr=1, path=Path("x")),
        "hyper_parameters": Settings(lr=1e-4, nested={"a": 1}),
        "best": np.float64(31.5),
        "losses": np.ones(3),
        "history": collections.deque([1, 2], maxlen=5),
        "counts": collections.defaultdict(list, {"a": [1]}),
        "state_dict": STATE,
    }
    torch.save(content, tmp_path / "m.ckpt", _use_new_zipfile_serialization=not old)
    for name in ("lightning_fabric", "lightning_fabric.utilities", Settings.__module__):
        monkeypatch.delitem(sys.modules, name)
    file = read_checkpoint_file(tmp_path / "m.ckpt")
    assert [(state.wrapper, list(state.tensors)) for state in file.states] == [("state_dict", list(STATE))]
    assert {"argparse.Namespace", "lightning_fabric.utilities.data.AttributeDict"} <= set(file.unread)


class Strange:
    """An object of a class that holds nobody's settings."""


def test_a_checkpoint_with_foreign_objects_names_them(tmp_path: Path) -> None:
    torch.save({"params": STATE, "model": Strange()}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"more than weights .*Strange"):
        read_checkpoint(tmp_path / "m.pth")


def test_torchscript_is_named(tmp_path: Path) -> None:
    graph = torch._C.Graph()  # a program without sources: torch.jit itself is deprecated and warns
    graph.registerOutput(graph.insertConstant(0))
    torch._C._create_function_from_graph("forward", graph).save(str(tmp_path / "m.pt"))
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_checkpoint(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.pth", b"", "empty"),
        ("m.pth", b"<!DOCTYPE html><html>", "web page"),
        ("m.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        ("m.pth", b"no model at all", "not a torch checkpoint"),
        ("m.safetensors", b"", "safetensors"),
        ("m.safetensors", b"\x10\0\0\0\0\0\0\0{}", "safetensors"),
        ("m.onnx", b"x", "ONNX"),
        ("m.zip", b"x", "name of a model file"),
    ],
)
def test_what_is_no_model_is_told(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / name)


def test_missing_files_and_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model file"):
        read_checkpoint(tmp_path / "absent.pth")
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(CheckpointError, match="folder"):
        read_checkpoint(tmp_path / "folder.pth")


@pytest.mark.parametrize("name", ["m.pth", "old.pth", "m.safetensors"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.98])
def test_cut_off_files_are_told(tmp_path: Path, name: str, share: float) -> None:
    big = {"weight": torch.rand(50, 50)}
    if name == "m.safetensors":
        write_tensors(tmp_path / name, big, {})
    else:
        torch.save(big, tmp_path / name, _use_new_zipfile_serialization=name == "m.pth")
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / name)


def test_a_flipped_bit_in_a_weight_is_found(tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save({"a.weight": torch.full((100,), 1.5)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(torch.full((4,), 1.5).numpy().tobytes()) + 200] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)


def test_safetensors_under_a_pth_name_are_told(tmp_path: Path) -> None:
    write_tensors(tmp_path / "m.safetensors", STATE, {})
    (tmp_path / "m.safetensors").rename(tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="safetensors file by its content"):
        read_checkpoint(tmp_path / "m.pth")


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", STATE, {"adaptsr": json.dumps({"artifact": "adapter"})})
    with pytest.raises(CheckpointError, match="adapter") as caught:
        read_checkpoint(tmp_path / "a.safetensors")
    assert "adaptsr merge" in caught.value.hint
    write_tensors(tmp_path / "m.safetensors", STATE, {"adaptsr": json.dumps({"artifact": "merged"})})
    assert len(read_checkpoint(tmp_path / "m.safetensors").tensors) == 2


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"params": {}}, [1, 2]])
def test_files_without_weights_are_told(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="no weights"):
        read_checkpoint(tmp_path / "m.pth")


class History:
    """A log of mmengine's, as its pickle says: it holds its own methods, which are found by `getattr`."""

    def __init__(self) -> None:
        self.values = np.ones(3)
        self.methods = {"mean": self.mean}

    def mean(self) -> float:
        return 1.0


@pytest.mark.parametrize(("other", "program"), [(".param", "ncnn"), (".xml", "OpenVINO")])
def test_halves_of_converted_models_are_named(tmp_path: Path, other: str, program: str) -> None:
    (tmp_path / "m.bin").write_bytes(b"weights")
    (tmp_path / f"m{other}").write_bytes(b"graph")
    with pytest.raises(CheckpointError, match=f"one half of a model of {program}, beside m{other}"):
        read_checkpoint(tmp_path / "m.bin")


def test_logs_of_mmengine_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("mmengine", "mmengine.logging")
    monkeypatch.setattr(History, "__module__", names[-1])
    module = types.ModuleType(names[-1])
    module.History = History  # type: ignore[attr-defined]
    for name in names:
        monkeypatch.setitem(sys.modules, name, module)
    torch.save({"message_hub": {"loss": History()}, "state_dict": STATE}, tmp_path / "m.pth")
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    file = read_checkpoint_file(tmp_path / "m.pth")
    assert file.states[0].wrapper == "state_dict"
    assert "mmengine.logging.History" in file.unread
