"""The weights in model files of any trainer: every mapping of names to tensors that a file holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from torch import Tensor

from adaptsr_cli.artifacts.base import HEADER
from adaptsr_cli.errors import ArtifactError, CheckpointError
from adaptsr_cli.io.checkpoint_parts import SUFFIXES, Parts, find_parts, has_model_suffix
from adaptsr_cli.io.pickles import FETCH_AGAIN, load_pickle
from adaptsr_cli.io.strict_json import parse_json
from adaptsr_cli.io.tensors import read_tensors
from adaptsr_cli.units import list_some

# Where trainers put the weights, most wanted first: the moving average before the last iterate.
WRAPPERS: Final = (
    "params_ema",
    "params-ema",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema_model",
    "model_state_dict",
    "state_dict",
    "params",
    "model",
    "net",
    "ema",
    "g_ema",
    "weights",
)
_DEEPEST: Final = 6


@dataclass(frozen=True)
class StateDict:
    """One mapping of names to tensors in a file.

    Attributes:
        wrapper: The key under which it lies (``params_ema``), with dots where there are several; None at the top.
        tensors: Key -> tensor on the CPU, under the file's own keys and in its order.
    """

    wrapper: str | None
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class CheckpointFile:
    """Everything of a model file that may be a network.

    Attributes:
        path: What was named: a file, an index or a folder.
        container: Its kind; ``pth`` for everything that `torch.save` wrote.
        states: All mappings of names to tensors, most wanted first.
        entries: What else lies at the top of the file, by key, for messages.
        origin: How its files were found; None for one file.
        unread: Classes of objects beside the weights that were not read.
        metadata: The text entries of a safetensors header; empty for ``pth``.
    """

    path: Path
    container: Literal["safetensors", "pth"]
    states: tuple[StateDict, ...]
    entries: tuple[str, ...] = ()
    origin: str | None = None
    unread: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """The weights of one network in a model file, as the file holds them.

    Attributes:
        path: The file.
        container: Its kind; ``pth`` for everything that `torch.save` wrote.
        tensors: Key -> tensor on the CPU, under the file's own keys and in its order.
        wrapper: The key under which the weights lay (``params_ema``, ``state_dict``); None for a raw state dict.
        prefix: What all keys of the network start with and no architecture knows (``module.``); empty where there is
            none. The keys in `tensors` keep it.
        metadata: The text entries of a safetensors header; empty for ``pth``.
        names: Name in the network -> key in `tensors`, where wrappers renamed; keys that no network has, such as the
            counters of a profiler, are missing here.
        left_out: What of the file was not taken, for people; empty where all was.
    """

    path: Path
    container: Literal["safetensors", "pth"]
    tensors: dict[str, Tensor]
    wrapper: str | None
    prefix: str
    metadata: dict[str, str]
    names: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the most wanted mapping of names to tensors of a file, whatever network it is.

    Raises:
        CheckpointError: As `read_checkpoint_file`.
    """
    file = read_checkpoint_file(path)
    state = file.states[0]
    return Checkpoint(path, file.container, state.tensors, state.wrapper, "", file.metadata)


def read_checkpoint_file(path: Path) -> CheckpointFile:
    """Read the weights of a model. Pickles are only ever read with ``weights_only=True``.

    Args:
        path: A ``.safetensors``, ``.pth``, ``.pt``, ``.ckpt`` or ``.bin`` file, the index of a sharded one, or a
            folder of Hugging Face, Accelerate or DeepSpeed.

    Raises:
        CheckpointError: The file is missing, damaged, unsafe to open, a program rather than weights, a file of ours
            that is not a model, or holds no tensors.
    """
    if path.suffix.lower() == ".onnx" and path.is_file():
        raise CheckpointError(
            f"{path} is an ONNX file, which other programs run but this one cannot",
            "name the safetensors or pth file of the same network",
        )
    if path.is_file() and not has_model_suffix(path):
        raise CheckpointError(f"{path} does not have the name of a model file", f"known endings: {' '.join(SUFFIXES)}")
    parts = find_parts(path)
    files = [_read_file(file) for file in parts.files]
    if len(files) == 1:
        return replace(files[0], path=path, origin=parts.origin)
    return _join(path, parts, files)


def _join(path: Path, parts: Parts, files: Sequence[CheckpointFile]) -> CheckpointFile:
    """Make one of several files: of shards one mapping, of others all mappings, called after their files."""
    if parts.is_sharded:
        tensors: dict[str, Tensor] = {}
        for file in files:
            tensors |= file.states[0].tensors
        missing = sorted(parts.names - set(tensors))
        if missing:
            raise CheckpointError(
                f"the shards of {path} lack {len(missing)} tensors of its index: {list_some(missing)}", FETCH_AGAIN
            )
        states: tuple[StateDict, ...] = (StateDict(files[0].states[0].wrapper, tensors),)
    else:
        states = tuple(
            StateDict(".".join(filter(None, (file.path.stem, state.wrapper))), state.tensors)
            for file in files
            for state in file.states
        )
    unread = tuple(dict.fromkeys(name for file in files for name in file.unread))
    return CheckpointFile(path, files[0].container, states, (), parts.origin, unread, files[0].metadata)


def _read_file(path: Path) -> CheckpointFile:
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    found, unread = load_pickle(path)
    states = sorted(_walk(found, ()), key=lambda state: _preference(state.wrapper))
    entries = tuple(map(str, found)) if isinstance(found, Mapping) else ()
    if not states:
        raise _without_weights(path, found, entries, unread)
    text = found.get(HEADER) if isinstance(found, Mapping) else None
    metadata = {HEADER: text} if isinstance(text, str) else {}
    return CheckpointFile(path, "pth", tuple(states), entries, None, unread, metadata)


def _read_safetensors(path: Path) -> CheckpointFile:
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
        raise CheckpointError(f"{path} holds no weights", FETCH_AGAIN)
    return CheckpointFile(path, "safetensors", (StateDict(None, tensors),), metadata=metadata)


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


def _walk(found: object, place: tuple[str, ...]) -> Iterator[StateDict]:
    """All mappings of names to tensors below `found`; optimizers number theirs, and so are passed over."""
    if len(place) > _DEEPEST:
        return
    if isinstance(found, Mapping):
        tensors = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}
        if tensors:
            yield StateDict(".".join(place) or None, tensors)
        for key, value in found.items():
            if isinstance(key, str) and isinstance(value, Mapping | list | tuple):
                yield from _walk(value, (*place, key))
    elif isinstance(found, list | tuple):
        for position, value in enumerate(found):
            if isinstance(value, Mapping):
                yield from _walk(value, (*place, str(position)))


def _preference(wrapper: str | None) -> tuple[int, ...]:
    """Sorts by the wrappers that trainers use, the top of the file after them, unknown ones last."""
    if wrapper is None:
        return (len(WRAPPERS),)
    return tuple(WRAPPERS.index(part) if part in WRAPPERS else len(WRAPPERS) + 1 for part in wrapper.split("."))


def _without_weights(path: Path, found: object, entries: Sequence[str], unread: Sequence[str]) -> CheckpointError:
    """Say what a file without a single named tensor holds."""
    hint = "name a file that holds a network's state dict"
    if isinstance(found, Tensor):
        return CheckpointError(f"{path} holds no weights but one tensor of shape {tuple(found.shape)}", hint)
    if {"state", "param_groups"} <= set(entries):
        return CheckpointError(f"{path} holds no weights but the state of an optimizer", hint)
    if any(entry.startswith("optim") for entry in entries):
        shown = list_some(list(entries), 6)
        return CheckpointError(
            f"{path} holds no weights but the state of a training ({shown})",
            "name the network that the trainer wrote beside it, such as net_g_latest.pth",
        )
    if {"shadow_params", "decay"} <= set(entries):
        return CheckpointError(
            f"{path} holds no weights under names: it is a moving average that torch_ema stores as a bare list",
            "store the network's own state dict while the average is in it: with ema.average_parameters(): ...",
        )
    beside = f", and {', '.join(unread[:3])}, which is not read" if unread else ""
    return CheckpointError(
        f"{path} holds no weights; its entries are: {list_some(list(entries)) or 'none'}{beside}", hint
    )
