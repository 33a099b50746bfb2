"""Tensors on disk: safetensors read and written, .pth written, and a hash of weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open as open_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from adaptsr_cli.io.atomic import replace_atomically, write_bytes
from adaptsr_cli.io.headers import safetensors_faults, utf8_name


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: tensors on the CPU in the order of the file, and the metadata.

    Raises:
        ArtifactError: The file is missing, unreadable or damaged.
    """
    with safetensors_faults(path), utf8_name(path) as name, open_safetensors(name, framework="pt") as handle:
        # A copy: the mapped file may be replaced, or written to by a system without private mappings.
        tensors = {key: handle.get_tensor(key).clone() for key in handle.offset_keys()}
        return tensors, dict(handle.metadata() or {})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically; the same input always gives the same bytes.

    Args:
        path: Where to.
        tensors: Any device and layout; stored contiguous, types kept.
        metadata: Text entries of the header.
    """
    # Clones: the format refuses tensors that share memory.
    stored = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    data = to_safetensors(stored)
    # The library writes metadata in random order, so the header is written here. Layout: length, JSON, data.
    length = int.from_bytes(data[:8], "little")
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    text = json.dumps({**header, **json.loads(data[8 : 8 + length])}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_bytes(path, len(text).to_bytes(8, "little") + text + data[8 + length :])


def write_pth(path: Path, state: Mapping[str, object]) -> None:
    """Write what `torch.save` writes, atomically; the bytes do not depend on the file's name."""
    with replace_atomically(path) as temporary, temporary.open("wb") as handle:
        torch.save(dict(state), handle)


def weights_sha256(tensors: Mapping[str, Tensor]) -> str:
    """A name for weights: SHA-256 over key, type, shape and bytes of all tensors, sorted by key.

    The same weights in a .pth and a .safetensors file agree, whatever the order and memory layout.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        kind = str(tensor.dtype).removeprefix("torch.")
        digest.update(json.dumps([name, kind, list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
