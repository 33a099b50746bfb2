"""The header of a safetensors file, read without the library."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.headers import read_header
from adaptsr_cli.io.tensors import write_tensors


def test_header_agrees_with_what_was_written(tmp_path: Path) -> None:
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(4).half(), "c": torch.tensor(1)}
    write_tensors(tmp_path / "t.safetensors", tensors, {"tool": "adaptsr"})
    header = read_header(tmp_path / "t.safetensors")
    assert header.metadata == {"tool": "adaptsr"}
    assert header.tensors == {"a": ("F32", (2, 3)), "b": ("F16", (4,)), "c": ("I64", ())}


def test_the_order_is_that_of_the_data(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t.safetensors", {"a": torch.zeros(1).half(), "z": torch.zeros(1)}, {})
    header = read_header(tmp_path / "t.safetensors")
    assert list(header.tensors) == ["z", "a"]  # the format aligns, so wide types come first


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x05\0\0",
        b"\xff" * 16,
        b"\x02\0\0\0\0\0\0\0[]",
        b"\x08\0\0\0\0\0\0\0not json",
        (7).to_bytes(8, "little") + b'{"a":1}',
        (2).to_bytes(8, "little") + b"{}" + b"more data than the header tells",
    ],
)
def test_damaged_headers_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        read_header(tmp_path / "t.safetensors")


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t.safetensors", {"a": torch.zeros(9)}, {})
    data = (tmp_path / "t.safetensors").read_bytes()
    (tmp_path / "t.safetensors").write_bytes(data[:-1])
    with pytest.raises(ArtifactError, match="damaged"):
        read_header(tmp_path / "t.safetensors")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot read"):
        read_header(tmp_path / "absent.safetensors")


def test_reading_a_header_imports_no_torch() -> None:
    program = "import sys, json, adaptsr_cli.io.headers; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
    assert "json" in modules
    assert not {"torch", "numpy", "safetensors", "pydantic"} & set(modules)
