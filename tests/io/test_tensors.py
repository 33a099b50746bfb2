"""Tensors on disk, and the hash that names weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.checkpoints import read_checkpoint
from adaptsr_cli.io.tensors import read_tensors, weights_sha256, write_pth, write_tensors

STATE = {"body.weight": torch.arange(6.0).reshape(2, 3), "body.bias": torch.tensor([1.0, 2.0])}


def test_tensors_come_back_bit_by_bit(tmp_path: Path) -> None:
    tensors = {
        "half": torch.rand(3, 2).half(),
        "bf16": torch.rand(5).bfloat16(),
        "transposed": torch.rand(3, 4).T,
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "nan": torch.tensor([float("nan"), -0.0]),
    }
    tensors["shared"] = tensors["transposed"]
    write_tensors(tmp_path / "t.safetensors", tensors, {})
    found, metadata = read_tensors(tmp_path / "t.safetensors")
    assert metadata == {}
    assert {name: (t.dtype, t.shape) for name, t in found.items()} == {
        name: (t.dtype, t.shape) for name, t in tensors.items()
    }
    assert weights_sha256(found) == weights_sha256(tensors)


def test_the_same_tensors_give_the_same_file(tmp_path: Path) -> None:
    metadata = dict.fromkeys(["zebra", "apple", "mango", "kiwi"], "x")
    write_tensors(tmp_path / "a.safetensors", STATE, metadata)
    write_tensors(tmp_path / "b.safetensors", STATE, dict(reversed(metadata.items())))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    write_pth(tmp_path / "a.pth", STATE)
    write_pth(tmp_path / "b.pth", STATE)
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_reading_tensors_of_a_bad_file_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        read_tensors(tmp_path / "absent.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"bad")
    with pytest.raises(ArtifactError):
        read_tensors(tmp_path / "bad.safetensors")


def test_what_was_read_does_not_follow_the_file(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t.safetensors", STATE, {})
    found, _ = read_tensors(tmp_path / "t.safetensors")
    data = bytearray((tmp_path / "t.safetensors").read_bytes())
    data[-24:] = b"\xff" * 24
    with (tmp_path / "t.safetensors").open("r+b") as handle:  # the same file, not a new one under its name
        handle.write(data)
    assert torch.equal(found["body.weight"], STATE["body.weight"])


def test_the_hash_names_content_not_container(tmp_path: Path) -> None:
    write_pth(tmp_path / "m.pth", {"params_ema": STATE})
    write_tensors(tmp_path / "m.safetensors", dict(reversed(STATE.items())), {"a": "b"})
    digests = {weights_sha256(read_checkpoint(tmp_path / name).tensors) for name in ("m.pth", "m.safetensors")}
    assert digests == {weights_sha256(STATE)}


def test_the_hash_sees_every_change() -> None:
    tensor = torch.arange(6.0)
    variants = [
        {"a": tensor},
        {"b": tensor},
        {"a": tensor.reshape(2, 3)},
        {"a": tensor.double()},
        {"a": tensor.int()},
        {"a": tensor + 1e-6},
        {"a": tensor, "b": tensor},
    ]
    assert len({weights_sha256(variant) for variant in variants}) == len(variants)
