"""Metadata of safetensors files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from adaptsr_cli.errors import ArtifactError
from adaptsr_cli.io.headers import read_metadata
from adaptsr_cli.io.tensors import write_tensors


def test_metadata_agrees_with_what_was_written(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t.safetensors", {"a": torch.zeros(2, 3)}, {"tool": "adaptsr"})
    assert read_metadata(tmp_path / "t.safetensors") == {"tool": "adaptsr"}
    write_tensors(tmp_path / "t.safetensors", {"a": torch.zeros(2, 3)}, {})
    assert read_metadata(tmp_path / "t.safetensors") == {}


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
        read_metadata(tmp_path / "t.safetensors")


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t.safetensors", {"a": torch.zeros(9)}, {})
    data = (tmp_path / "t.safetensors").read_bytes()
    (tmp_path / "t.safetensors").write_bytes(data[:-1])
    with pytest.raises(ArtifactError, match="damaged"):
        read_metadata(tmp_path / "t.safetensors")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot read"):
        read_metadata(tmp_path / "absent.safetensors")


def test_reading_metadata_imports_no_torch(tmp_path: Path) -> None:
    write_tensors(tmp_path / "t.safetensors", {"a": torch.zeros(9)}, {})
    program = (
        "import sys, json, pathlib, adaptsr_cli.io.headers as headers;"
        "headers.read_metadata(pathlib.Path(sys.argv[1])); print(json.dumps(sorted(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "t.safetensors")]
    modules = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert "safetensors" in modules
    assert not {"torch", "pydantic"} & set(modules)
