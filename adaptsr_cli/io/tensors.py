"""Weights on disk: safe reading of any checkpoint, writing of safetensors and .pth, and a hash of weights."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from safetensors import safe_open as open_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from adaptsr_cli.errors import ArtifactError, CheckpointError
from adaptsr_cli.io.atomic import replace_atomically, write_bytes
from adaptsr_cli.io.file_kinds import require_regular
from adaptsr_cli.io.headers import safetensors_faults, utf8_name
from adaptsr_cli.io.strict_json import parse_json

SUFFIXES: Final = (".safetensors", ".pth", ".pt", ".ckpt")

# Where trainers put the weights, most wanted first: the moving average before the last iterate.
_WRAPPERS: Final = (
    "params_ema",
    "params-ema",
    "model_state_dict",
    "state_dict",
    "params",
    "model",
    "net",
    "ema",
    "g_ema",
    "weights",
)
_PREFIXES: Final = ("module.", "_orig_mod.", "netG.", "generator.")
_PICKLE_START: Final = b"\x80"  # the format of torch before 1.6, still common
# What `zipfile` raises on damaged archives, besides what it documents.
_ARCHIVE_FAULTS: Final = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, RuntimeError)
_FETCH_AGAIN: Final = "fetch or make the file again"


@dataclass(frozen=True)
class Checkpoint:
    """The weights in a model file, as the file holds them.

    Attributes:
        path: The file.
        container: Its kind; ``pth`` for everything that `torch.save` wrote.
        tensors: Key -> tensor on the CPU, under the file's own keys and in its order.
        wrapper: The key under which the weights lay (``params_ema``, ``state_dict``); None for a raw state dict.
        prefix: What all keys start with and no architecture knows (``module.``); empty where there is none. The
            keys in `tensors` keep it.
        metadata: The text entries of a safetensors header; empty for ``pth``.
    """

    path: Path
    container: Literal["safetensors", "pth"]
    tensors: dict[str, Tensor]
    wrapper: str | None
    prefix: str
    metadata: dict[str, str]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the weights of a model. Pickles are only ever read with ``weights_only=True``.

    Args:
        path: A ``.safetensors``, ``.pth``, ``.pt`` or ``.ckpt`` file.

    Raises:
        CheckpointError: The file is missing, damaged, unsafe to open, a program rather than weights, a file of ours
            that is not a model, or holds no tensors.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, not a model file", "name the file in it")
    if not path.is_file():
        raise CheckpointError(f"there is no model file {path}", "check the path, or run: adaptsr models")
    if path.suffix.lower() == ".onnx":
        raise CheckpointError(
            f"{path} is an ONNX file, which other programs run but this one cannot",
            "name the safetensors or pth file of the same network",
        )
    if path.suffix.lower() not in SUFFIXES:
        raise CheckpointError(f"{path} does not have the name of a model file", f"known endings: {' '.join(SUFFIXES)}")
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors_checkpoint(path)
    found, wrapper = _unwrap(_load_pickle(path))
    tensors = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{path} holds no weights; its entries are: {', '.join(map(str, list(found)[:6])) or 'none'}",
            "name a file that holds a network's state dict",
        )
    return Checkpoint(path, "pth", tensors, wrapper, _common_prefix(tensors), {})


def _read_safetensors_checkpoint(path: Path) -> Checkpoint:
    try:
        tensors, metadata = read_tensors(path)
    except ArtifactError as error:
        raise CheckpointError(error.message, error.hint) from error
    kind = _artifact_kind(metadata)
    if kind == "adapter":
        raise CheckpointError(
            f"{path} is an adapter, not a model", f"fold it into its backbone: adaptsr merge --adapter {path}"
        )
    if kind not in {None, "merged"}:
        raise CheckpointError(f"{path} is a {kind} file, not a model", "name a model file")
    if not tensors:
        raise CheckpointError(f"{path} holds no weights", _FETCH_AGAIN)
    return Checkpoint(path, "safetensors", tensors, None, _common_prefix(tensors), metadata)


def _artifact_kind(metadata: Mapping[str, str]) -> str | None:
    """Which artifact of ours a safetensors header describes; None for a file that others made."""
    for text in metadata.values():
        try:
            entry = parse_json(text)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("artifact"), str):
            return str(entry["artifact"])
    return None


def _load_pickle(path: Path) -> object:
    """What `torch.save` put into `path`, or a CheckpointError that says why it cannot be had."""
    _refuse_other_files(path)
    try:
        with warnings.catch_warnings():
            # Old files name storages by type; torch warns of its own internals, which nobody here can change.
            warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
            warnings.filterwarnings("ignore", message=".*'torch.load' received a zip file.*")
            # Said of pickles that then turn out to be unsafe, which is answered below.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}", "check the file") from error
    except pickle.UnpicklingError as error:
        culprit = re.search(r"(?:GLOBAL|class|function) ([\w.]+\.[\w.]+)", str(error))
        if culprit is None and "Unsupported" not in str(error):
            raise CheckpointError(f"{path} is damaged or not a torch checkpoint", _FETCH_AGAIN) from error
        what = culprit[1] if culprit else "an unusual object"
        raise CheckpointError(
            f"{path} holds more than weights ({what}); opening it could run code hidden in it, so it is not opened",
            "where you trust it, save only its weights: torch.save(network.state_dict(), 'weights.pth')",
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        raise CheckpointError(f"{path} is cut off, damaged or not a torch checkpoint", _FETCH_AGAIN) from error


def _refuse_other_files(path: Path) -> None:
    try:
        require_regular(path)
        with path.open("rb") as handle:
            start = handle.read(64)
        archived = zipfile.is_zipfile(path)
        # Torch does not look at the checksums: it would take a weight with a flipped bit as it is.
        names = _check_archive(path) if archived else []
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}", "check the file") from error
    except _ARCHIVE_FAULTS as error:
        raise CheckpointError(f"{path} is cut off or damaged", _FETCH_AGAIN) from error
    if not start:
        raise CheckpointError(f"{path} is empty", _FETCH_AGAIN)
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise CheckpointError(f"{path} is a web page, not a model", "the download went wrong; fetch it again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path} is only a Git LFS pointer to a model", "fetch the file itself: git lfs pull")
    if start[8:].startswith(b'{"'):
        raise CheckpointError(f"{path} is a safetensors file by its content", "rename it to end in .safetensors")
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(
            f"{path} is a TorchScript program, not weights that can be adapted",
            "use the state dict (.pth or .safetensors) that it was made from",
        )
    if not archived and not start.startswith(_PICKLE_START):
        raise CheckpointError(f"{path} is cut off, damaged or not a torch checkpoint", _FETCH_AGAIN)


def _check_archive(path: Path) -> list[str]:
    """The names in an archive whose entries all agree with their checksums."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)
        return archive.namelist()


def _unwrap(found: object) -> tuple[Mapping[object, object], str | None]:
    """Go down to the state dict; the wrapper key is the path to it, with dots where there are several."""
    keys: list[str] = []
    while isinstance(found, Mapping):
        inner = next((key for key in _WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if inner is None and len(found) == 1 and isinstance(next(iter(found.values())), Mapping):
            inner = next(iter(found))
        if inner is None:
            return found, ".".join(map(str, keys)) or None
        keys.append(inner)
        found = found[inner]
    return {}, None


def _common_prefix(tensors: Mapping[str, Tensor]) -> str:
    prefix = ""
    while more := next((p for p in _PREFIXES if all(key.startswith(prefix + p) for key in tensors)), None):
        prefix += more
    return prefix


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
