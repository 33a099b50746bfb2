"""Networks converted for another engine: made once for a shape, proven against torch, kept in the cache folder."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from adaptsr_cli import __version__
from adaptsr_cli.backbones.backbone import Backbone
from adaptsr_cli.backbones.onnx_model import OnnxModel, import_onnxruntime
from adaptsr_cli.backbones.openvino_model import OpenVinoModel, import_openvino
from adaptsr_cli.errors import AdaptsrError, CheckpointError
from adaptsr_cli.io.cache_folder import cache_dir
from adaptsr_cli.io.cached_parts import SUFFIX, read_parts, write_parts
from adaptsr_cli.io.tensors import weights_sha256

EngineName = Literal["openvino", "onnxruntime"]

TOLERANCE: Final = 1e-4
"""Largest difference from torch, in parts of the image range, or of the largest value where a network goes beyond."""

_CACHE_BYTES: Final = 1 << 30
_MOST_KEPT_BYTES: Final = 256 << 20  # of one network: masks of large windows count with the tile's pixels
_LAYOUT: Final = 1  # of the key; raised when conversion changes within a version


class Runtime(Protocol):
    """A converted network, open."""

    @classmethod
    def convert(cls, model: nn.Module, example: Tensor) -> Self:
        """Convert for one shape."""

    @classmethod
    def from_parts(cls, parts: Mapping[str, bytes]) -> Self:
        """Open what was kept."""

    def to_parts(self) -> dict[str, bytes]:
        """What to keep."""

    def run(self, lr: Tensor) -> Tensor:
        """(B, 3, h, w) float32 -> (B, 3, scale * h, scale * w) float32, valid until the next call."""


_RUNTIMES: Final[Mapping[EngineName, type[Runtime]]] = {"openvino": OpenVinoModel, "onnxruntime": OnnxModel}
_IMPORTS: Final[Mapping[EngineName, Callable[[], Any]]] = {
    "openvino": import_openvino,
    "onnxruntime": import_onnxruntime,
}


def require_engine(name: EngineName) -> None:
    """Import an engine's package.

    Raises:
        UsageError: It is not installed; the hint is the command that installs it.
    """
    _IMPORTS[name]()


def is_installed(name: EngineName) -> bool:
    """Whether an engine's package is there; it is not imported."""
    return find_spec(name) is not None


def has_conversions() -> bool:
    """Whether anything was ever converted here."""
    return _folder().is_dir()


@dataclass(frozen=True)
class Pace:
    """How fast torch and an engine were on tiles of one shape on this machine.

    Attributes:
        torch_s: Seconds a tile.
        engine_s: Seconds a tile; infinite where it cannot run the network, or does not agree with torch.
        open_s: Seconds to open the converted network from the cache folder; to convert it, where it is not kept.
    """

    torch_s: float
    engine_s: float
    open_s: float


class Conversions:
    """One network's conversions for one engine.

    Args:
        backbone: The network, on the CPU, its weights as they are run.
        engine: For what.
    """

    def __init__(self, backbone: Backbone, engine: EngineName) -> None:
        self._model = backbone.model
        self._runtime = _RUNTIMES[engine]
        self._facts = {
            "layout": _LAYOUT,
            "tool": __version__,
            "torch": torch.__version__,
            engine: version(engine),
            "cpu": _describe_cpu(),
            "weights": weights_sha256(backbone.model.state_dict()),
            "architecture": backbone.identity.architecture,
            "arguments": repr(sorted(backbone.arguments.items())),
            "precision": "fp32",
        }

    def recall(self, shape: torch.Size) -> Runtime | None:
        """Open the network for inputs of a shape out of the cache folder.

        Returns:
            None where it is not there, is damaged, or cannot be opened any more.

        Raises:
            UsageError: The package is missing.
        """
        place = self._place("network", shape)
        if (parts := read_parts(place)) is None:
            return None
        try:
            return self._runtime.from_parts(parts)
        except CheckpointError:
            place.unlink(missing_ok=True)
            return None

    def convert(self, fitted: Tensor) -> Runtime:
        """Convert the network for inputs of a shape.

        Args:
            fitted: (B, 3, h, w), an image of a size that the network takes as it is.

        Raises:
            CheckpointError: It cannot be converted.
            UsageError: A package is missing.
        """
        with torch.inference_mode(False):
            return self._runtime.convert(self._model, fitted.clone())

    def keep(self, shape: torch.Size, runtime: Runtime) -> None:
        """Put a conversion, which must be proven, into the cache folder; one that is very large is not kept."""
        parts = runtime.to_parts()
        if sum(map(len, parts.values())) <= _MOST_KEPT_BYTES:
            _keep(self._place("network", shape), parts)

    def recall_pace(self, shape: torch.Size) -> Pace | None:
        """What was measured on tiles of this shape with as many threads; None: nothing yet."""
        parts = read_parts(self._place("pace", shape))
        return None if parts is None else Pace(**json.loads(parts["pace"]))

    def keep_pace(self, shape: torch.Size, pace: Pace) -> None:
        """Remember a measurement."""
        _keep(self._place("pace", shape), {"pace": json.dumps(asdict(pace)).encode()})

    def _place(self, kind: Literal["network", "pace"], shape: torch.Size) -> Path:
        threads = torch.get_num_threads() if kind == "pace" else None
        facts = {**self._facts, "kind": kind, "shape": list(shape), "threads": threads}
        name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
        return _folder() / f"{name}{SUFFIX}"


def _folder() -> Path:
    return cache_dir() / "engines"


def _keep(place: Path, parts: Mapping[str, bytes]) -> None:
    try:
        write_parts(place, parts, limit_bytes=_CACHE_BYTES)
    except AdaptsrError:
        return  # a full or read-only disk: it is made again next time


def _describe_cpu() -> str:
    """The kind of CPU: what is compiled for one need not run on another that shares the cache folder."""
    names = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        names += sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    else:
        names.append(platform.processor())
    return " ".join(names)


def largest_difference(found: Tensor, expected: Tensor) -> float:
    """In parts of the image range, or of the largest value where that is more; infinite if one is not finite."""
    if found.shape != expected.shape:
        return float("inf")
    difference = float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))
    return difference if difference == difference else float("inf")
